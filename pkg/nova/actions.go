package nova

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// action is an entry of an instance's history.
type action struct {
	Name    string `json:"action"`
	Request string `json:"request_id"`
	Start   stamp  `json:"start_time"`
}

func actionsPath(id string) string { return "servers/" + url.PathEscape(id) + "/os-instance-actions" }

// actions are what was done to an instance, newest first.
func (c *Client) actions(ctx context.Context, id string) ([]action, error) {
	var answer struct {
		Actions items[action] `json:"instanceActions"`
	}
	err := c.nova(ctx, request{op: "list actions of instance " + id, method: http.MethodGet, path: actionsPath(id), out: &answer, list: true,
		whole: func() bool { return answer.Actions != nil }})
	slices.SortStableFunc(answer.Actions, func(a, b action) int { return b.Start.Compare(a.Start.Time) })
	return answer.Actions, err
}

// Actions names what was done to an instance, newest first.
func (c *Client) Actions(ctx context.Context, id string) ([]string, error) {
	actions, err := c.actions(ctx, id)
	var names []string
	for _, a := range actions {
		names = append(names, a.Name)
	}
	return names, err
}

// Course is how far an evacuation has come by the events of its action, which tell what
// nothing else in Nova does: that nobody is at work on it any more.
type Course struct {
	// Sent is when the conductor sent it to a destination; zero before.
	Sent time.Time
	// Err is what ended it before it was sent, in Nova's words: the scheduler did not
	// answer in a minute, say. The instance stays in rebuilding all the same, and the
	// evacuation record accepted (seen on Nova 26.2).
	Err string
	// Taken is when a destination began; zero before.
	Taken time.Time
	// Ended is when the destination was done with it, successfully; zero before.
	Ended time.Time
	// Failed is whether the destination was done with it, in vain.
	Failed bool
}

// Course tells of the instance's evacuation whose record was created at the given time.
// Where Nova knows of none the answer is empty.
func (c *Client) Course(ctx context.Context, id string, created time.Time) (Course, error) {
	actions, err := c.actions(ctx, id)
	if err != nil {
		return Course{}, err
	}
	// The action is begun a moment before the record; both are whole seconds.
	n := slices.IndexFunc(actions, func(a action) bool { return a.Name == "evacuate" && !a.Start.After(created.Add(time.Second)) })
	if n < 0 {
		return Course{}, nil
	}
	var one struct {
		Action *struct {
			Events items[courseEvent] `json:"events"`
		} `json:"instanceAction"`
	}
	err = c.nova(ctx, request{op: "follow the evacuation of instance " + id, method: http.MethodGet,
		path: actionsPath(id) + "/" + url.PathEscape(actions[n].Request), out: &one, whole: func() bool { return one.Action != nil }})
	if err != nil {
		return Course{}, err
	}
	return course(one.Action.Events), nil
}

// courseEvent is one of an action's events. Details came with 2.84.
type courseEvent struct {
	Name    string `json:"event"`
	Start   stamp  `json:"start_time"`
	Finish  stamp  `json:"finish_time"`
	Result  string `json:"result"`
	Details string `json:"details"`
}

// course reads the conductor's and the destination's events (nova/conductor/manager.py and
// nova/compute/manager.py, rebuild_instance).
func course(events []courseEvent) Course {
	var c Course
	for _, e := range events {
		switch {
		case e.Name == "compute_rebuild_instance":
			c.Taken = e.Start.Time
			switch e.Result {
			case "":
			case "Success":
				c.Ended = e.Finish.Time
			default:
				c.Failed = true
			}
		case e.Name == "rebuild_server" && e.Result == "Success":
			c.Sent = e.Finish.Time
		case e.Name == "rebuild_server" && e.Result != "":
			c.Err = cmp.Or(e.Details, "Nova's conductor gave it up")
		}
	}
	return c
}
