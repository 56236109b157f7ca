package novasim

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sim is a cloud under a clock of the test's, asked what a client of Nova could ask.
//
// The steps of an evacuation take: a second until the destination has it, a second in
// rebuild_block_device_mapping, nine to eleven in rebuild_spawning, then a second each
// until the host changes and until the record is done.
type sim struct {
	t     *testing.T
	cloud *Cloud
	now   time.Time
}

func newSim(t *testing.T, change func(*Config)) *sim {
	s := &sim{t: t, now: time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)}
	cfg := Config{Hosts: []string{"compute-1", "compute-2", "compute-3", "compute-4"}, ScheduleTime: time.Second, SettleTime: time.Second,
		RebuildTime: 10 * time.Second, Now: func() time.Time { return s.now }}
	if change != nil {
		change(&cfg)
	}
	s.cloud = New(cfg)
	return s
}

// said gives an answer in a line: ok, or the code and the message.
func said(err error) string {
	var refusal *Refusal
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &refusal):
		return fmt.Sprintf("%d %s", refusal.Code, refusal.Message)
	}
	return "no refusal: " + err.Error()
}

func (s *sim) pass(d time.Duration) { s.now = s.now.Add(d) }

func (s *sim) boot(host string) string {
	s.t.Helper()
	return s.bootAs(host, "active")
}

func (s *sim) bootAs(host, vmState string) string {
	s.t.Helper()
	ids, err := s.cloud.AddInstances(Batch{Host: host, VMState: vmState})
	if err != nil {
		s.t.Fatal(err)
	}
	return ids[0]
}

func (s *sim) host(name string, change HostChange) {
	s.t.Helper()
	if err := s.cloud.ChangeHost(name, change); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sim) controllers(change ControllerChange) {
	s.t.Helper()
	if err := s.cloud.ChangeControllers(change); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sim) setForcedDown(name string, down bool) string {
	return said(s.cloud.SetService(name, ServiceChange{ForcedDown: &down}))
}

func (s *sim) setStatus(name, status string) {
	s.t.Helper()
	if err := s.cloud.SetService(name, ServiceChange{Status: &status}); err != nil {
		s.t.Fatal(err)
	}
}

// serviceState is a service as a list shows it.
func (s *sim) serviceState(name string) string {
	s.t.Helper()
	for _, service := range s.cloud.Services() {
		if service.Host == name {
			return fmt.Sprintf("up=%v %s forced=%v", service.Up, service.Status, service.ForcedDown)
		}
	}
	s.t.Fatalf("no service of %s", name)
	return ""
}

// down kills a host and forces it down, as fencing does.
func (s *sim) down(name string) {
	s.t.Helper()
	s.host(name, HostChange{Power: "off"})
	if got := s.setForcedDown(name, true); got != "ok" {
		s.t.Fatal(got)
	}
}

// evacuate sends an evacuation, to any host if target is "".
func (s *sim) evacuate(id, target string) string {
	return said(s.cloud.Evacuate(id, target, false, "req-"+id))
}

// accepted is evacuate that must be.
func (s *sim) accepted(id, target string) {
	s.t.Helper()
	if got := s.evacuate(id, target); got != "ok" {
		s.t.Fatalf("evacuate to %q: %s", target, got)
	}
}

// server is an instance as Nova shows it: status, vm_state, task, host.
func (s *sim) server(id string) string {
	i, err := s.cloud.Server(id)
	if err != nil {
		return said(err)[:3]
	}
	or := func(text string) string {
		if text == "" {
			return "-"
		}
		return text
	}
	return fmt.Sprint(i.Status, " ", i.VMState, " ", or(i.TaskState), " ", or(i.Host))
}

func (s *sim) fault(id string) string {
	s.t.Helper()
	i, err := s.cloud.Server(id)
	if err != nil {
		s.t.Fatal(err)
	}
	return i.Fault
}

// records are an instance's, oldest first: status and destination.
func (s *sim) records(id string) string {
	var all []string
	for _, m := range s.cloud.Migrations("") {
		if m.Instance != id {
			continue
		}
		dest := m.Dest
		if dest == "" {
			dest = "?"
		}
		all = append(all, fmt.Sprint(m.Status, " ", dest))
	}
	return strings.Join(all, ", ")
}

// guests are the hosts where an instance truly runs.
func (s *sim) guests(id string) string {
	s.t.Helper()
	for _, i := range s.cloud.State().Instances {
		if i.ID == id {
			return strings.Join(i.GuestsOn, " ")
		}
	}
	s.t.Fatalf("no instance %s", id)
	return ""
}

// breaches are the kinds of harm so far.
func (s *sim) breaches() string {
	var kinds []string
	for _, b := range s.cloud.Check() {
		kinds = append(kinds, b.Kind)
	}
	return strings.Join(kinds, " ")
}

// is compares a value with the expected one.
func (s *sim) is(what, got, want string) {
	s.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// looks checks server, records and guests of an instance at once.
func (s *sim) looks(when, id, server, records, guests string) {
	s.t.Helper()
	s.is(when+": server", s.server(id), server)
	s.is(when+": records", s.records(id), records)
	s.is(when+": guests", s.guests(id), guests)
}
