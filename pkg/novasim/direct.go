package novasim

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/nova-evac/nova-evac/pkg/nova"
)

// Direct answers the questions of an evacuation to Nova from the cloud itself, with neither
// HTTP nor JSON between them: a simulation of thousands of evacuations needs the speed. It
// gives the same results as nova.Client makes of Nova's answers.
type Direct struct{ Cloud *Cloud }

// Skew is 0: both have one clock.
func (d Direct) Skew() time.Duration { return 0 }

// Ready is always so: there is no login.
func (d Direct) Ready(context.Context) error { return nil }

// Services lists all nova-computes.
func (d Direct) Services(context.Context) ([]nova.Service, error) {
	c := d.Cloud
	defer c.look()()
	services := make([]nova.Service, 0, len(c.hosts))
	for _, h := range c.hosts {
		services = append(services, nova.Service{ID: h.id, Host: h.name, Up: c.up(h), Enabled: h.enabled, ForcedDown: h.forced,
			DisabledReason: h.reason, Updated: c.shown(h).Truncate(time.Second)})
	}
	return services, nil
}

// ForceDown forces a host down and disables it, as nova.Client does.
func (d Direct) ForceDown(_ context.Context, service nova.Service, reason string) error {
	down := true
	change := serviceChange{ForcedDown: &down}
	if reason != "" {
		disabled := "disabled"
		change.Status, change.DisabledReason = &disabled, &reason
	}
	return d.update("force down "+service.Host, service.Host, change)
}

// Missing is empty: the simulated controller never fails by itself.
func (d Direct) Missing(context.Context) ([]string, error) { return nil, nil }

// ForceUp takes back that a host is down.
func (d Direct) ForceUp(_ context.Context, service nova.Service) error {
	up := false
	return d.update("force up "+service.Host, service.Host, serviceChange{ForcedDown: &up})
}

// Enable gives a host back to the scheduler.
func (d Direct) Enable(_ context.Context, service nova.Service) error {
	enabled := "enabled"
	return d.update("enable "+service.Host, service.Host, serviceChange{Status: &enabled})
}

// Disown takes nova-evac's name off a service's reason.
func (d Direct) Disown(_ context.Context, service nova.Service) error {
	disabled, reason := "disabled", nova.DisownedReason
	return d.update("disown "+service.Host, service.Host, serviceChange{Status: &disabled, DisabledReason: &reason})
}

func (d Direct) update(op, host string, change serviceChange) error {
	c := d.Cloud
	defer c.lock()()
	h := c.host(host)
	if h == nil {
		return &nova.Error{Op: op, Kind: nova.ErrNotFound, Code: http.StatusNotFound, Message: "Service could not be found."}
	}
	return failure(op, c.setService(h, change))
}

// Servers lists the instances that Nova has on a host.
func (d Direct) Servers(_ context.Context, host string) ([]nova.Server, error) {
	c := d.Cloud
	defer c.look()()
	var servers []nova.Server
	for _, i := range c.instances {
		if i.host != host || i.deleted {
			continue
		}
		s := nova.Server{ID: i.id, Name: i.name, Host: i.host, VMState: i.vmState, TaskState: i.taskState, Updated: i.updated.Truncate(time.Second)}
		if i.status() == "ERROR" {
			s.Fault = i.fault
		}
		servers = append(servers, s)
	}
	return servers, nil
}

// Rebuilding lists the instances of a host whose task is a rebuild.
func (d Direct) Rebuilding(_ context.Context, host string) ([]string, error) {
	c := d.Cloud
	defer c.look()()
	var ids []string
	for _, i := range c.instances {
		if i.host == host && !i.deleted && i.status() == "REBUILD" {
			ids = append(ids, i.id)
		}
	}
	return ids, nil
}

// Evacuations lists the evacuation records from or to a host that are not older.
func (d Direct) Evacuations(_ context.Context, host string, since time.Time) ([]nova.Migration, error) {
	return d.records(func(m *migration) bool {
		return (m.source == host || m.dest == host) && !m.created.Truncate(time.Second).Before(since.Truncate(time.Second))
	}), nil
}

// EvacuationsOf lists all evacuation records of an instance.
func (d Direct) EvacuationsOf(_ context.Context, id string) ([]nova.Migration, error) {
	return d.records(func(m *migration) bool { return m.instance.id == id }), nil
}

func (d Direct) records(wanted func(*migration) bool) []nova.Migration {
	c := d.Cloud
	defer c.look()()
	var records []nova.Migration
	for n := len(c.migrations) - 1; n >= 0; n-- {
		m := c.migrations[n]
		if m.instance.deleted || !wanted(m) {
			continue
		}
		records = append(records, nova.Migration{ID: m.id, Instance: m.instance.id, Source: m.source, Dest: m.dest, Status: m.status, Created: m.created.Truncate(time.Second),
			Updated: m.updated.Truncate(time.Second)})
	}
	return records
}

// Evacuate requests the evacuation of an instance.
func (d Direct) Evacuate(_ context.Context, id, dest string) error {
	c := d.Cloud
	defer c.lock()()
	op := "evacuate instance " + id
	i, refused := c.instance(id)
	if refused == nil {
		refused = c.evacuate(i, dest, false, "req-"+id)
	}
	return failure(op, refused)
}

// Actions names what was done to an instance, newest first.
func (d Direct) Actions(_ context.Context, id string) ([]string, error) {
	c := d.Cloud
	defer c.look()()
	i, refused := c.instance(id)
	if refused != nil {
		return nil, failure("list actions of instance "+id, refused)
	}
	var names []string
	for n := len(i.actions) - 1; n >= 0; n-- {
		names = append(names, i.actions[n].name)
	}
	return names, nil
}

// Course looks at the events of an instance's evacuation, as nova.Client does.
func (d Direct) Course(_ context.Context, id string, created time.Time) (nova.Course, error) {
	c := d.Cloud
	defer c.look()()
	i, refused := c.instance(id)
	if refused != nil {
		return nova.Course{}, failure("follow the evacuation of instance "+id, refused)
	}
	var course nova.Course
	for _, a := range slices.Backward(i.actions) {
		if a.name != "evacuate" || a.started.Truncate(time.Second).After(created.Add(time.Second)) {
			continue
		}
		for _, e := range a.events {
			switch {
			case e.name == "compute_rebuild_instance":
				course.Taken = e.started.Truncate(time.Second)
				switch e.result {
				case "":
				case "Success":
					course.Ended = e.finished.Truncate(time.Second)
				default:
					course.Failed = true
				}
			case e.result == "Success":
				course.Sent = e.finished.Truncate(time.Second)
			default:
				course.Err = e.details
			}
		}
		break
	}
	return course, nil
}

// Reset sets an instance's vm_state to error.
func (d Direct) Reset(_ context.Context, id string) error {
	c := d.Cloud
	defer c.lock()()
	i, refused := c.instance(id)
	if refused == nil {
		refused = c.resetState(i, "error")
	}
	return failure("reset the state of instance "+id, refused)
}

// Stop shuts an instance down.
func (d Direct) Stop(_ context.Context, id string) error {
	c := d.Cloud
	defer c.lock()()
	i, refused := c.instance(id)
	if refused == nil {
		refused = c.stop(i)
	}
	return failure("stop instance "+id, refused)
}

// Destinations names the hosts on which placement has set room aside.
func (d Direct) Destinations(_ context.Context, id string) ([]string, error) {
	c := d.Cloud
	defer c.look()()
	var hosts []string
	for _, h := range c.hosts {
		if h.allocated[id] {
			hosts = append(hosts, h.name)
		}
	}
	return hosts, nil
}

// failure turns a refusal into the error that nova.Client would give.
func failure(op string, r *refusal) error {
	if r == nil {
		return nil
	}
	body, err := json.Marshal(r.reply().body)
	if err != nil {
		return err
	}
	return nova.Refusal(op, r.code, body)
}
