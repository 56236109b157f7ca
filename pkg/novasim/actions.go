package novasim

import "time"

// Action is a row of an instance's os-instance-actions.
type Action struct {
	// Request is the id that Nova has given the request.
	Request string
	// Name is that of the request, without "os-".
	Name             string
	Started, Updated time.Time
	// Failed is true if any of its events has failed.
	Failed bool
	// Events are in the order of their start.
	Events []ActionEvent
}

// ActionEvent is a step of an action.
type ActionEvent struct {
	Name string
	// Host is where it happens.
	Host string
	// Finished is zero while the event goes on.
	Started, Finished time.Time
	// Result is Success, Error, or empty while the event goes on.
	Result string
	// Details is the message of an error.
	Details string
}

// action is an action whose events still change.
type action struct {
	Action
	events []*ActionEvent
}

func (c *Cloud) act(i *instance, request, name string) *action {
	a := &action{Action: Action{Request: request, Name: name, Started: c.now, Updated: c.now}}
	i.actions = append(i.actions, a)
	return a
}

func (c *Cloud) begin(a *action, name, host string) *ActionEvent {
	e := &ActionEvent{Name: name, Host: host, Started: c.now}
	a.events = append(a.events, e)
	return e
}

// finish ends an event; an empty failure is success.
func (c *Cloud) finish(a *action, e *ActionEvent, failure string) {
	e.Finished, e.Result, a.Updated = c.now, "Success", c.now
	if failure != "" {
		e.Result, e.Details, a.Failed = "Error", failure, true
	}
}

// Actions gives the actions of an instance, newest first; with deleted also those of an
// instance that was deleted, as Nova does since 2.21.
func (c *Cloud) Actions(id string, deleted bool) ([]Action, error) {
	defer c.look()()
	i := c.byID[id]
	if i == nil || i.deleted && !deleted {
		return nil, notFound(id)
	}
	var actions []Action
	for n := len(i.actions) - 1; n >= 0; n-- {
		a := i.actions[n].Action
		for _, e := range i.actions[n].events {
			a.Events = append(a.Events, *e)
		}
		actions = append(actions, a)
	}
	return actions, nil
}
