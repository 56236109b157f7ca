package supervisor

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/control"
	"github.com/nova-evac/nova-evac/pkg/evacuate"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// stuckAfter is how old the loop's last round may be before monitor has to fail.
// A round is bounded by the time limits of cibadmin and crm_mon, twice 10 seconds.
const stuckAfter = 30 * time.Second

// Handle answers one request on the control socket.
func (s *Supervisor) Handle(ctx context.Context, request control.Request) control.Response {
	switch request.Op {
	case control.OpMonitor:
		if err := s.healthy(); err != nil {
			return control.Response{Error: err.Error()}
		}
		return control.Response{OK: true, PID: os.Getpid(), Node: s.Owner}
	case control.OpStatus:
		return control.Response{OK: true, PID: os.Getpid(), Node: s.Owner, Hosts: s.Status()}
	case control.OpHost:
		if _, err := ByHand(ctx, s.Nova, s.Records, request.Host, s.Domain, s.Now()); err != nil {
			return control.Response{Error: err.Error()}
		}
		return control.Response{OK: true}
	}
	return control.Response{Error: fmt.Sprintf("unknown request %q", request.Op)}
}

func (s *Supervisor) healthy() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if age := s.Now().Sub(s.beat); age > stuckAfter {
		return fmt.Errorf("the supervisor is stuck: its loop came round %v ago", age.Round(time.Second))
	}
	return nil
}

// Status is the state of all hosts: what the records say, and for the hosts that
// this supervisor carries what it knows better.
func (s *Supervisor) Status() []control.Host {
	s.mu.Lock()
	records := slices.Clone(s.records)
	workers := map[string]*worker{}
	for host, w := range s.workers {
		workers[host] = w
	}
	s.mu.Unlock()
	hosts := []control.Host{}
	for _, r := range records {
		rec := r.Record
		if w := workers[r.Host]; w != nil && r.Since.Equal(w.current().Since) {
			rec = w.current()
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
	if r.OnHold() && r.Unfinished() {
		phase = "held"
	}
	return control.Host{Host: r.Host, Phase: phase, Gen: r.Gen, Owner: r.Owner,
		Total: r.Total, Done: r.Done, Failed: r.Failed, Skipped: r.Skipped,
		Since: r.Since, Updated: r.Updated, WaitingFor: r.Wait}
}

// HostUpError is what ByHand refuses a host with whose nova-compute is up.
type HostUpError struct {
	Host    string
	Updated time.Time
}

// Error says what is wrong and what to do.
func (e *HostUpError) Error() string {
	return fmt.Sprintf("host %s: its nova-compute is up (last seen %s); fence the host first (stonith_admin --fence NODE), "+
		"or, once it is off for sure, have Nova know it: openstack compute service set --down %s nova-compute",
		e.Host, e.Updated.UTC().Format(time.RFC3339), e.Host)
}

// ByHand records that an operator wants host evacuated. It refuses a host that
// Nova does not know, and one whose nova-compute is up: its instances may be
// running. A host whose evacuation is under way already goes on as it is.
func ByHand(ctx context.Context, n evacuate.Nova, records cib.Records, host, domain string, now time.Time) (cib.Stored, error) {
	services, err := n.Services(ctx)
	if err != nil {
		return cib.Stored{}, err
	}
	service, err := nova.FindService(services, host, domain)
	if err != nil {
		return cib.Stored{}, err
	}
	if service.Up {
		return cib.Stored{}, &HostUpError{service.Host, service.Updated}
	}
	all, err := records.Query(ctx)
	if err != nil {
		return cib.Stored{}, err
	}
	name := service.Host
	if _, found := cib.Find(all, host); found { // recorded under the name that the fence device gave it
		name = host
	}
	s, _, err := cib.Modify(ctx, records, name, func(r cib.Stored, found bool) (record.Record, bool) {
		switch {
		case !found || r.Err != nil:
			return record.NewlyFenced(name, "", now), true
		case r.Unfinished():
			return r.Record, false
		}
		return r.NextGeneration(cmp.Or(r.Node, name), now), true
	})
	return s, err
}
