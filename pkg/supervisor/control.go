package supervisor

import (
	"context"
	"fmt"
	"time"

	"github.com/nova-evac/nova-evac/pkg/control"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// stuckAfter is how old the loop's last round may be before monitor has to fail.
// A round is bounded by the time limits of cibadmin and crm_mon, twice 10 seconds.
const stuckAfter = 30 * time.Second

// Handle answers one request on the control socket.
func (s *Supervisor) Handle(_ context.Context, request control.Request) control.Response {
	switch request.Op {
	case control.OpMonitor:
		if err := s.healthy(); err != nil {
			return control.Response{Error: err.Error()}
		}
		return control.Response{OK: true, Node: s.Owner}
	case control.OpStatus:
		return control.Response{OK: true, Node: s.Owner, Hosts: s.Status()}
	}
	return control.Response{Error: fmt.Sprintf("unknown request %q", request.Op)}
}

func (s *Supervisor) healthy() error {
	if age := s.Now().Sub(time.Unix(0, s.came.Load())); age > stuckAfter {
		return fmt.Errorf("the supervisor is stuck: its loop came round %v ago", age.Round(time.Second))
	}
	return nil
}

// Status is the state of all hosts: what the records say, and, of the hosts that
// this supervisor carries, what it knows better.
func (s *Supervisor) Status() []control.Host {
	hosts := []control.Host{}
	for _, r := range s.known.all() {
		rec := r.Record
		if c := s.claims.of(r.Host); c != nil {
			if current := c.current(); current.Since.Equal(r.Since) {
				rec = current
			}
		}
		hosts = append(hosts, HostStatus(rec, r.Err))
	}
	return hosts
}

// HostStatus is a record as the shell and the control socket show it.
func HostStatus(r record.Record, malformed error) control.Host {
	if malformed != nil {
		return control.Host{Host: r.Host, Phase: "malformed", WaitingFor: malformed.Error()}
	}
	phase := string(r.Phase)
	if (r.OnHold() || r.Hold == record.HeldBySource) && r.Unfinished() {
		phase = "held"
	}
	power := map[record.Back]string{record.NotBack: "off", record.BackOn: "on", record.BackRunning: "running"}[r.Back]
	return control.Host{Host: r.Host, Node: r.Node, Phase: phase, Gen: r.Gen, Owner: r.Owner, Power: power,
		Counts: r.Counts, Since: r.Since, Updated: r.Updated, WaitingFor: r.Wait.String()}
}
