package novasim

import (
	"context"
	"encoding/json"
	"errors"
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

// seconds is a moment as Nova's database has it, which knows no fractions of seconds.
func seconds(t time.Time) time.Time { return t.Truncate(time.Second) }

// Services lists all nova-computes.
func (d Direct) Services(context.Context) ([]nova.Service, error) {
	all := d.Cloud.Services()
	services := make([]nova.Service, 0, len(all))
	for _, s := range all {
		services = append(services, nova.Service{ID: s.ID, Host: s.Host, Up: s.Up, Enabled: s.Status == "enabled", ForcedDown: s.ForcedDown,
			DisabledReason: s.DisabledReason, Updated: seconds(s.Updated)})
	}
	return services, nil
}

// ForceDown forces a host down and disables it, as nova.Client does.
func (d Direct) ForceDown(_ context.Context, service nova.Service, reason string) error {
	down := true
	change := ServiceChange{ForcedDown: &down}
	if reason != "" {
		disabled := "disabled"
		change.Status, change.DisabledReason = &disabled, &reason
	}
	return failure("force down "+service.Host, d.Cloud.SetService(service.Host, change))
}

// Missing is empty: the simulated controller never fails by itself.
func (d Direct) Missing(context.Context) ([]string, error) { return nil, nil }

// ForceUp takes back that a host is down.
func (d Direct) ForceUp(_ context.Context, service nova.Service) error {
	up := false
	return failure("force up "+service.Host, d.Cloud.SetService(service.Host, ServiceChange{ForcedDown: &up}))
}

// Enable gives a host back to the scheduler.
func (d Direct) Enable(_ context.Context, service nova.Service) error {
	enabled := "enabled"
	return failure("enable "+service.Host, d.Cloud.SetService(service.Host, ServiceChange{Status: &enabled}))
}

// Disown takes nova-evac's name off a service's reason.
func (d Direct) Disown(_ context.Context, service nova.Service) error {
	disabled, reason := "disabled", nova.DisownedReason
	return failure("disown "+service.Host, d.Cloud.SetService(service.Host, ServiceChange{Status: &disabled, DisabledReason: &reason}))
}

// Servers lists the instances that Nova has on a host.
func (d Direct) Servers(_ context.Context, host string) ([]nova.Server, error) {
	var servers []nova.Server
	for _, s := range d.Cloud.Servers(host) {
		servers = append(servers, nova.Server{ID: s.ID, Name: s.Name, Host: s.Host, VMState: s.VMState, TaskState: s.TaskState, Fault: s.Fault,
			Updated: seconds(s.Updated)})
	}
	return servers, nil
}

// Rebuilding lists the instances of a host whose task is a rebuild.
func (d Direct) Rebuilding(_ context.Context, host string) ([]string, error) {
	var ids []string
	for _, s := range d.Cloud.Servers(host) {
		if s.Status == "REBUILD" {
			ids = append(ids, s.ID)
		}
	}
	return ids, nil
}

// Evacuations lists the evacuation records from or to a host that are not older.
func (d Direct) Evacuations(_ context.Context, host string, since time.Time) ([]nova.Migration, error) {
	records := slices.DeleteFunc(recordsOf(d.Cloud.Migrations(host)), func(m nova.Migration) bool { return m.Created.Before(seconds(since)) })
	return records, nil
}

// EvacuationsOf lists all evacuation records of an instance.
func (d Direct) EvacuationsOf(_ context.Context, id string) ([]nova.Migration, error) {
	return slices.DeleteFunc(recordsOf(d.Cloud.Migrations("")), func(m nova.Migration) bool { return m.Instance != id }), nil
}

// recordsOf are evacuation records as nova.Client gives them, newest first.
func recordsOf(migrations []Migration) []nova.Migration {
	var records []nova.Migration
	for _, m := range slices.Backward(migrations) {
		records = append(records, nova.Migration{ID: m.ID, Instance: m.Instance, Source: m.Source, Dest: m.Dest, Status: m.Status, Created: seconds(m.Created),
			Updated: seconds(m.Updated)})
	}
	return records
}

// Evacuate requests the evacuation of an instance.
func (d Direct) Evacuate(_ context.Context, id, dest string) error {
	return failure("evacuate instance "+id, d.Cloud.Evacuate(id, dest, false, "req-"+id))
}

// Actions names what was done to an instance, newest first.
func (d Direct) Actions(_ context.Context, id string) ([]string, error) {
	actions, err := d.Cloud.Actions(id, false)
	if err != nil {
		return nil, failure("list actions of instance "+id, err)
	}
	var names []string
	for _, a := range actions {
		names = append(names, a.Name)
	}
	return names, nil
}

// Course looks at the events of an instance's evacuation, as nova.Client does.
func (d Direct) Course(_ context.Context, id string, created time.Time) (nova.Course, error) {
	actions, err := d.Cloud.Actions(id, false)
	if err != nil {
		return nova.Course{}, failure("follow the evacuation of instance "+id, err)
	}
	for _, a := range actions {
		if a.Name == "evacuate" && !seconds(a.Started).After(created.Add(time.Second)) {
			return course(a.Events), nil
		}
	}
	return nova.Course{}, nil
}

// course is what the events of an evacuation say about it.
func course(events []ActionEvent) (course nova.Course) {
	for _, e := range events {
		switch {
		case e.Name == "compute_rebuild_instance":
			course.Taken = seconds(e.Started)
			switch e.Result {
			case "":
			case "Success":
				course.Ended = seconds(e.Finished)
			default:
				course.Failed = true
			}
		case e.Result == "Success":
			course.Sent = seconds(e.Finished)
		default:
			course.Err = e.Details
		}
	}
	return course
}

// Reset sets an instance's vm_state to error.
func (d Direct) Reset(_ context.Context, id string) error {
	return failure("reset the state of instance "+id, d.Cloud.ResetState(id, "error", ""))
}

// Stop shuts an instance down.
func (d Direct) Stop(_ context.Context, id string) error {
	return failure("stop instance "+id, d.Cloud.Stop(id, ""))
}

// Destinations names the hosts on which placement has set room aside.
func (d Direct) Destinations(_ context.Context, id string) ([]string, error) {
	var hosts []string
	for _, s := range d.Cloud.Allocations(id) {
		hosts = append(hosts, s.Host)
	}
	return hosts, nil
}

// failure turns a refusal into the error that nova.Client would give.
func failure(op string, err error) error {
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		return err
	}
	body, err := json.Marshal(refusal.Body())
	if err != nil {
		return err
	}
	return nova.Refusal(op, refusal.Code, body)
}
