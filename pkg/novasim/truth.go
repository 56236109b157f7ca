package novasim

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nova-evac/nova-evac/pkg/nova"
)

// The kinds of harm.
const (
	// Lost: nothing of the instance runs, nothing is under way for it, and it cannot
	// be evacuated either, because its host works again and has destroyed it.
	Lost = "lost"
	// DoubleSend: an evacuation was accepted while another one of the instance could
	// still go through.
	DoubleSend = "double_send"
	// SplitBrain: guests of one instance ran on two hosts, be it for a moment.
	SplitBrain = "split_brain"
	// Replayed: the same, by a message that a host found in its queue when its nova-compute
	// started, long after it was sent. Nobody can call such a message back (case C).
	Replayed = "replayed"
	// SourceAlive: an evacuation was accepted while the instance's guest still ran on
	// the source, which thus had not lost its power.
	SourceAlive = "source_alive"
)

// Breach is harm that must never happen.
type Breach struct {
	Kind     string    `json:"kind"`
	Instance string    `json:"instance"`
	What     string    `json:"what"`
	At       time.Time `json:"at"`
}

// longQueued is how old a message has to be for its guest to be Replayed.
const longQueued = 3 * time.Minute

func (c *Cloud) breach(kind string, i *instance, format string, args ...any) {
	c.breaches = append(c.breaches, Breach{kind, i.id, fmt.Sprintf(format, args...), c.now.UTC()})
}

// Report is the truth about the cloud. Every instance that is not deleted is counted
// once in Running, InProgress, Waiting, Off, Astray and the breaches of kind Lost.
type Report struct {
	// Breaches are all that happened so far, and the instances that are lost now.
	Breaches []Breach `json:"breaches"`
	// Instances counts those that are not deleted.
	Instances int `json:"instances"`
	// Running counts those whose guest is on the host that Nova names.
	Running int `json:"running"`
	// Evacuated counts the running ones that have come by an evacuation.
	Evacuated int `json:"evacuated"`
	// InProgress counts those with an evacuation that can still go through.
	InProgress int `json:"in_progress"`
	// Waiting counts those that are nowhere while their host is dead, those with an
	// evacuation that is stuck for ever included.
	Waiting int `json:"waiting"`
	// Off counts those that lie on the disk of a host that is back, and those that
	// Nova has on no host at all.
	Off int `json:"off"`
	// Astray counts those whose guest runs on another host than Nova has.
	Astray int `json:"astray"`
	// Orphans counts guests of deleted instances.
	Orphans int `json:"orphans"`
	// OnHost counts guests by host, without orphans.
	OnHost map[string]int `json:"on_host"`
	// MostAccepted is the most evacuations that Nova accepted for one instance.
	MostAccepted int `json:"most_accepted"`
}

// Check gives all harm that was done, nil if none was.
func (c *Cloud) Check() []Breach {
	if breaches := c.Report().Breaches; len(breaches) > 0 {
		return breaches
	}
	return nil
}

// Report gives the truth about the cloud.
func (c *Cloud) Report() Report {
	defer c.look()()
	return c.report()
}

// Wait waits until the report is as it should be. It gives the last report, and false if the
// context was done first. Under the wall clock it drives the cloud by itself; under any other
// it goes on when somebody moves the clock.
func (c *Cloud) Wait(ctx context.Context, reached func(Report) bool) (Report, bool) {
	for {
		unlock := c.look()
		report, wake, next := c.report(), c.wake, time.Hour
		if len(c.due) > 0 {
			next = c.due[0].at.Sub(c.now)
		}
		unlock()
		if reached(report) {
			return report, true
		}
		due := time.NewTimer(max(next, time.Millisecond))
		select {
		case <-wake:
		case <-due.C:
		case <-ctx.Done():
			due.Stop()
			return report, false
		}
		due.Stop()
	}
}

func (c *Cloud) report() Report {
	r := Report{Breaches: append([]Breach{}, c.breaches...), OnHost: map[string]int{}}
	for _, h := range c.hosts {
		for id := range h.guests {
			if c.byID[id].deleted {
				r.Orphans++
			} else {
				r.OnHost[h.name]++
			}
		}
	}
	for _, i := range c.instances {
		if i.deleted {
			continue
		}
		r.Instances++
		r.MostAccepted = max(r.MostAccepted, len(i.attempts))
		switch c.condition(i) {
		case "running":
			r.Running++
			if i.arrivals > 0 {
				r.Evacuated++
			}
		case "in_progress":
			r.InProgress++
		case "waiting":
			r.Waiting++
		case "off":
			r.Off++
		case "astray":
			r.Astray++
		case Lost:
			r.Breaches = append(r.Breaches, Breach{Lost, i.id,
				fmt.Sprintf("no guest of it is left, nothing is under way, and %s is back", i.host), c.now.UTC()})
		}
	}
	return r
}

// condition is the true state of an instance, whatever Nova believes.
func (c *Cloud) condition(i *instance) string {
	h := c.host(i.host)
	switch {
	case slices.ContainsFunc(i.attempts, (*attempt).canProceed):
		return "in_progress"
	case h != nil && h.guests[i.id]:
		return "running"
	case len(c.guestsOf(i)) > 0:
		return "astray"
	case h == nil:
		return "off"
	case !h.compute:
		return "waiting"
	case h.disks[i.id]:
		return "off"
	}
	return Lost
}

// guestsOf names the hosts on which an instance truly runs.
func (c *Cloud) guestsOf(i *instance) []string {
	on := []string{}
	for _, h := range c.hosts {
		if h.guests[i.id] {
			on = append(on, h.name)
		}
	}
	return on
}

// HostState is a host as it truly is, and what Nova thinks of it.
type HostState struct {
	Name  string `json:"name"`
	Power string `json:"power"`
	// Compute is running, stopping or stopped.
	Compute string `json:"compute"`
	// Up, Status, DisabledReason and ForcedDown are Nova's view.
	Up             bool   `json:"up"`
	Status         string `json:"status"`
	DisabledReason string `json:"disabled_reason"`
	ForcedDown     bool   `json:"forced_down"`
	// Guests are the ids of the instances that run here.
	Guests []string `json:"guests"`
	// Rebuilding and Waiting count the rebuilds at work and those without a slot,
	// Queued the messages that wait for nova-compute.
	Rebuilding int `json:"rebuilding"`
	Waiting    int `json:"waiting"`
	Queued     int `json:"queued"`
}

// InstanceState is an instance as Nova has it, and where it truly is.
type InstanceState struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Host      string `json:"host"`
	VMState   string `json:"vm_state"`
	TaskState string `json:"task_state"`
	Status    string `json:"status"`
	Deleted   bool   `json:"deleted,omitempty"`
	// Condition is running, in_progress, waiting, off, astray or lost; see Report.
	Condition string `json:"condition"`
	// GuestsOn are the hosts where it runs, RanOn all where it ever did, in order.
	GuestsOn []string `json:"guests_on"`
	RanOn    []string `json:"ran_on"`
	// Accepted counts the evacuations that Nova accepted.
	Accepted int `json:"accepted"`
}

// OpenRecord is an evacuation record that says accepted or pre-migrating.
type OpenRecord struct {
	ID       int         `json:"id"`
	Instance string      `json:"instance"`
	Source   string      `json:"source"`
	Dest     string      `json:"dest"`
	Status   nova.Status `json:"status"`
}

// State is everything at one moment.
type State struct {
	Now         time.Time       `json:"now"`
	Hosts       []HostState     `json:"hosts"`
	Instances   []InstanceState `json:"instances"`
	OpenRecords []OpenRecord    `json:"open_records"`
}

// State gives the state of the cloud.
func (c *Cloud) State() State {
	defer c.look()()
	s := State{Now: c.now.UTC(), Hosts: []HostState{}, Instances: []InstanceState{}, OpenRecords: []OpenRecord{}}
	for _, h := range c.hosts {
		state := HostState{Name: h.name, Power: "off", Compute: "stopped", Up: c.up(h), Status: h.status(), DisabledReason: h.reason,
			ForcedDown: h.forced, Guests: []string{}, Rebuilding: h.rebuilding, Waiting: len(h.waiting), Queued: len(h.queue)}
		if h.power {
			state.Power = "on"
		}
		if h.compute {
			state.Compute = "running"
		} else if h.draining {
			state.Compute = "stopping"
		}
		for id := range h.guests {
			state.Guests = append(state.Guests, id)
		}
		slices.Sort(state.Guests)
		s.Hosts = append(s.Hosts, state)
	}
	for _, i := range c.instances {
		s.Instances = append(s.Instances, InstanceState{ID: i.id, Name: i.name, Host: i.host, VMState: i.vmState, TaskState: i.taskState,
			Status: i.status(), Deleted: i.deleted, Condition: c.condition(i), GuestsOn: c.guestsOf(i), RanOn: append([]string{}, i.ranOn...),
			Accepted: len(i.attempts)})
	}
	for _, m := range c.migrations {
		if m.open() && !m.of.deleted {
			s.OpenRecords = append(s.OpenRecords, OpenRecord{m.ID, m.of.id, m.Source, m.Dest, m.Status})
		}
	}
	return s
}
