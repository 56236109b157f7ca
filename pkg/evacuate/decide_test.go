package evacuate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nova-evac/nova-evac/pkg/history"
	"github.com/nova-evac/nova-evac/pkg/nova"
)

var (
	t0     = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	policy = Policy{MaxInFlight: 2, APITime: time.Minute, RetryMin: 5 * time.Second, RetryMax: 5 * time.Minute}
)

// scene is a situation, and the look at Nova that its history is read from.
type scene struct {
	Situation
	Since    time.Time
	Skew     time.Duration
	Back     map[string]bool
	Snapshot history.Look
}

// situation is the scene's, with its history.
func (s scene) situation() Situation {
	look := s.Snapshot
	look.Host, look.Since, look.Now, look.Clock = "src", s.Since, s.Now, history.Clock{Ahead: s.Skew}
	look.SeenOn, look.Back = s.Source != SourceOff, s.Back
	s.History = history.Read(look)
	return s.Situation
}

// decide decides on the scene.
func (s scene) decide(p Policy) Plan { return Decide(s.situation(), p) }

// blank is the scene without any sentence: names, faults, and what Nova said of a failure.
func (s scene) blank() scene {
	s.Snapshot.Servers, s.Attempts = slices.Clone(s.Snapshot.Servers), maps.Clone(s.Attempts)
	s.Snapshot.Courses = maps.Clone(s.Snapshot.Courses)
	for n := range s.Snapshot.Servers {
		one := &s.Snapshot.Servers[n]
		one.Name = ""
		if !strings.HasSuffix(one.Fault, "already exists.") { // Nova says that in the fault alone
			one.Fault = ""
		}
	}
	for id, a := range s.Attempts {
		a.Err = ""
		s.Attempts[id] = a
	}
	for id, c := range s.Snapshot.Courses {
		if c.Err != "" {
			c.Err = "?" // that there is one is a fact
		}
		s.Snapshot.Courses[id] = c
	}
	return s
}

// at is a scene one minute into the evacuation of the dead host src, with the
// destinations d1 and d2 alive.
func at(change func(*scene)) scene {
	s := scene{
		Situation: Situation{Now: t0.Add(time.Minute), Attempts: map[string]Attempt{}}, Since: t0,
		Snapshot: history.Look{
			Began:    t0.Add(time.Minute),
			Services: []nova.Service{{Host: "src", ForcedDown: true}, {Host: "d1", Up: true, Enabled: true}, {Host: "d2", Up: true, Enabled: true}},
		},
	}
	if change != nil {
		change(&s)
	}
	return s
}

func server(id string) nova.Server {
	return nova.Server{ID: id, Name: "vm-" + id, Host: "src", VMState: "active"}
}

func rebuilding(id string) nova.Server {
	s := server(id)
	s.TaskState = "rebuild_spawning"
	return s
}

func inError(id string) nova.Server {
	s := server(id)
	s.VMState = "error"
	return s
}

func evacuation(n int, id string, status nova.Status, dest string) nova.Migration {
	return nova.Migration{ID: n, Instance: id, Source: "src", Dest: dest, Status: status, Created: t0.Add(10 * time.Second)}
}

func died(s *scene, host string) {
	for i := range s.Snapshot.Services {
		if s.Snapshot.Services[i].Host == host {
			s.Snapshot.Services[i].Up, s.Snapshot.Services[i].ForcedDown, s.Snapshot.Services[i].Updated = false, true, t0.Add(20*time.Second)
		}
	}
}

func TestDecide(t *testing.T) {
	answered := t0.Add(30 * time.Second)
	for _, c := range []struct {
		name string
		s    scene
		// want lists the verdicts as "id:state", send what is sent: the id, and behind it
		// the destination where one is asked for.
		want, send string
		settled    bool
		wait       string // part of it
	}{
		{
			name: "nothing is sent before the host is known to be down",
			s: at(func(s *scene) {
				s.Snapshot.Services[0].ForcedDown = false
				s.Snapshot.Servers = []nova.Server{server("a")}
			}),
			want: "a:waiting", wait: "Nova to take the host for down",
		},
		{
			name: "a nova-compute that runs too early is named as the danger that it is, and what was not sent is held",
			s: at(func(s *scene) {
				s.WasDown, s.Source = true, SourceRuns
				s.Snapshot.Servers = []nova.Server{server("a")}
			}),
			want: "a:waiting", wait: "DANGER: nova-compute of src runs while instances have not left: 1 may run there and are not sent",
		},
		{
			name: "a host that is on with nothing before its nova-compute is sent nothing from, and what is on its way goes on",
			s: at(func(s *scene) {
				s.WasDown, s.Source = true, SourceOn
				s.Snapshot.Servers = []nova.Server{rebuilding("a"), server("b")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "pre-migrating", "d1")}
			}),
			want: "a:rebuilding b:waiting", wait: "DANGER: src is on while instances have not left, and no gate holds its nova-compute: 1 may run there",
		},
		{
			name: "a host that is on behind a gate is evacuated",
			s: at(func(s *scene) {
				s.WasDown, s.Source = true, SourceGated
				s.Snapshot.Servers = []nova.Server{server("a")}
			}),
			want: "a:waiting", send: "a", wait: "1 sent",
		},
		{
			name: "after a sign of life nothing is sent until it is known",
			s: at(func(s *scene) {
				s.WasDown, s.Source = true, SourceUnsure
				s.Snapshot.Servers = []nova.Server{server("a")}
			}),
			want: "a:waiting", wait: "it to be known whether src is off",
		},
		{
			name: "a host that runs and that everything has left, or is leaving, is no danger to be held for",
			s: at(func(s *scene) {
				s.WasDown, s.Source = true, SourceRuns
				s.Snapshot.Servers = []nova.Server{rebuilding("a")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "pre-migrating", "d1")}
			}),
			want: "a:rebuilding", wait: "DANGER: nova-compute of src runs while instances have not left: it destroys their disks",
		},
		{
			name: "a host that Nova has heard from since its fencing, and that nobody has forced down, is left alone",
			s: at(func(s *scene) {
				s.Snapshot.Services[0].ForcedDown, s.Snapshot.Services[0].Up, s.Snapshot.Services[0].Updated = false, true, t0.Add(20*time.Second)
				s.Snapshot.Servers = []nova.Server{server("a"), inError("b")}
			}),
			want: "a:waiting b:waiting", wait: "an operator: src is up, and nobody has it forced down; Nova has 2 instances there: see that they run (vm-a, vm-b), then 'nova-evac admit src'",
		},
		{
			name: "nor is it forced down when it has fallen silent again: its guests may run",
			s: at(func(s *scene) {
				s.Snapshot.Services[0].ForcedDown, s.Snapshot.Services[0].Updated = false, t0.Add(20*time.Second)
				s.Snapshot.Servers = []nova.Server{server("a")}
			}),
			want: "a:waiting", wait: "'openstack compute service set --down src nova-compute'",
		},
		{
			name: "a heartbeat from before the fencing is none since",
			s: at(func(s *scene) {
				s.Snapshot.Services[0].ForcedDown, s.Snapshot.Services[0].Up, s.Snapshot.Services[0].Updated = false, true, t0.Add(2*time.Second)
				s.Snapshot.Servers = []nova.Server{server("a")}
			}),
			want: "a:waiting", wait: "Nova to take the host for down",
		},
		{
			name: "a host that was evacuated in this generation and is up was let in: it is not forced down again",
			s: at(func(s *scene) {
				s.Snapshot.Services[0].ForcedDown, s.Snapshot.Services[0].Up = false, true
				s.Snapshot.Servers = []nova.Server{server("a")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "b", "completed", "d1")}
			}),
			want: "a:waiting", wait: "see that they run (vm-a)",
		},
		{
			name: "a host whose forced_down was cleared meanwhile is not evacuated any more",
			s: at(func(s *scene) {
				s.Snapshot.Services[0].ForcedDown = false
				s.WasDown = true
				s.Snapshot.Servers = []nova.Server{server("a")}
			}),
			want: "a:waiting", wait: "forced_down was cleared",
		},
		{
			name: "an empty host is settled",
			s:    at(nil), settled: true,
		},
		{
			name: "an empty host that is not forced down is not settled",
			s:    at(func(s *scene) { s.Snapshot.Services[0].ForcedDown = false }),
			wait: "Nova to take the host for down",
		},
		{
			name: "as many are sent as there are slots, in the order of their ids",
			s:    at(func(s *scene) { s.Snapshot.Servers = []nova.Server{server("c"), server("a"), server("b")} }),
			want: "a:waiting b:waiting c:waiting", send: "a b", wait: "2 sent; 1 waiting for a slot",
		},
		{
			name: "an instance being rebuilt keeps its slot",
			s: at(func(s *scene) {
				s.Snapshot.Servers = []nova.Server{rebuilding("a"), server("b"), server("c")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "pre-migrating", "d1")}
			}),
			want: "a:rebuilding b:waiting c:waiting", send: "b", wait: "1 rebuilding (d1 1)",
		},
		{
			name: "no task is not completion while the record is open",
			s: at(func(s *scene) {
				s.Snapshot.Servers = []nova.Server{server("a")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "pre-migrating", "d1")}
			}),
			want: "a:rebuilding", wait: "rebuilding (d1 1)",
		},
		{
			name: "a record that is done does not count while Nova has the instance on the host",
			s: at(func(s *scene) {
				s.Snapshot.Servers = []nova.Server{server("a")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "done", "d1")}
			}),
			want: "a:rebuilding",
		},
		{
			name: "a request without an answer keeps its slot, also when its instance is not listed",
			s: at(func(s *scene) {
				s.Snapshot.Servers = []nova.Server{server("a"), server("b"), server("c")}
				s.Attempts["a"] = Attempt{Pending: true}
				s.Attempts["z"] = Attempt{Pending: true}
			}),
			want: "a:sent b:waiting c:waiting", wait: "1 sent; 2 waiting for a slot",
		},
		{
			name: "a request answered after the look began is not sent again",
			s: at(func(s *scene) {
				s.Snapshot.Servers = []nova.Server{server("a")}
				s.Attempts["a"] = Attempt{Answered: s.Snapshot.Began}
			}),
			want: "a:sent",
		},
		{
			name: "after a lost answer the instance is left alone for the API's time, and keeps its slot",
			s: at(func(s *scene) {
				s.Snapshot.Servers = []nova.Server{server("a"), server("b"), server("c")}
				s.Attempts["a"] = Attempt{Answered: answered, UnknownUntil: answered.Add(time.Minute)}
			}),
			want: "a:doubtful b:waiting c:waiting", send: "b", wait: "the answer to its request was lost",
		},
		{
			name: "a lost answer whose record shows up is a request that Nova took",
			s: at(func(s *scene) {
				s.Snapshot.Servers = []nova.Server{rebuilding("a")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(8, "a", "accepted", "")}
				s.Attempts["a"] = Attempt{Answered: answered, UnknownUntil: answered.Add(time.Minute), LastRecord: 7}
			}),
			want: "a:rebuilding",
		},
		{
			name: "a lost answer whose record has failed needs no more waiting",
			s: at(func(s *scene) {
				s.Snapshot.Servers = []nova.Server{server("a")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(8, "a", "failed", "d1")}
				s.Attempts["a"] = Attempt{Answered: answered, UnknownUntil: answered.Add(time.Minute), LastRecord: 7}
			}),
			want: "a:waiting", send: "ad2", // a, to d2: it failed on d1
		},
		{
			name: "what has failed everywhere is the scheduler's choice again",
			s: at(func(s *scene) {
				s.Snapshot.Servers = []nova.Server{server("a")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(8, "a", "failed", "d1"), evacuation(9, "a", "error", "d2")}
			}),
			want: "a:waiting", send: "a",
		},
		{
			name: "a lost answer that never shows is sent again when its time is over",
			s: at(func(s *scene) {
				s.Snapshot.Servers = []nova.Server{server("a")}
				s.Attempts["a"] = Attempt{Answered: answered, UnknownUntil: s.Now}
			}),
			want: "a:waiting", send: "a",
		},
		{
			name: "a failed instance waits for its pause to end, and says why it failed",
			s: at(func(s *scene) {
				a := server("a")
				a.VMState, a.Fault = "error", "No valid host was found."
				s.Snapshot.Servers = []nova.Server{a}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "error", "")}
				s.Attempts["a"] = Attempt{Answered: answered, LastRecord: 0, Over: true, Failures: 1, NotBefore: s.Now.Add(time.Second)}
			}),
			want: "a:failed", wait: "1 failed, vm-a: No valid host was found.",
		},
		{
			name: "the pause over, it is sent again",
			s: at(func(s *scene) {
				s.Snapshot.Servers = []nova.Server{server("a")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "error", "")}
				s.Attempts["a"] = Attempt{Answered: answered, Over: true, Failures: 1, NotBefore: s.Now}
			}),
			want: "a:waiting", send: "a",
		},
		{
			name: "an evacuation whose destination died is sent again",
			s: at(func(s *scene) {
				died(s, "d1")
				s.Snapshot.Servers = []nova.Server{rebuilding("a"), rebuilding("b")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "pre-migrating", "d1"), evacuation(2, "b", "pre-migrating", "d2")}
			}),
			want: "a:waiting b:rebuilding", send: "a",
		},
		{
			name: "a rebuild that its operator has reset is sent again, to the same host",
			s: at(func(s *scene) {
				s.Now = t0.Add(2 * time.Minute)
				a := server("a")
				a.VMState = "error"
				s.Snapshot.Servers = []nova.Server{a}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "pre-migrating", "d1")}
			}),
			want: "a:waiting", send: "ad1",
		},
		{
			name: "a rebuild that takes long is named, with what to do if it is stuck",
			s: at(func(s *scene) {
				s.Now = t0.Add(2 * time.Hour)
				s.Snapshot.Servers = []nova.Server{rebuilding("a"), rebuilding("b")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "pre-migrating", "d1"), evacuation(2, "b", "pre-migrating", "d2")}
				s.Snapshot.Evacuations[1].Created = t0.Add(time.Hour)
			}),
			want: "a:rebuilding b:rebuilding",
			wait: "vm-a for 2h0m0s: if nova-compute of d1 was restarted since, or Nova's database was away, it is stuck, and 'openstack server set --state error a'",
		},
		{
			name: "a destination that took it after it was fenced is alive again, and works on it",
			s: at(func(s *scene) {
				died(s, "d1")
				s.Snapshot.Services[1].DisabledReason = "nova-evac gen=1 since=2026-03-01T03:00:20Z: fenced, being evacuated"
				s.Snapshot.Servers = []nova.Server{rebuilding("a"), rebuilding("b")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "pre-migrating", "d1"), evacuation(2, "b", "pre-migrating", "d1")}
				s.Snapshot.Evacuations[0].Updated, s.Snapshot.Evacuations[1].Updated = t0.Add(30*time.Second), t0.Add(15*time.Second)
			}),
			want: "a:rebuilding b:waiting", send: "b",
		},
		{
			name: "one that merely does not answer is waited for",
			s: at(func(s *scene) {
				s.Snapshot.Services[1].Up = false
				s.Snapshot.Servers = []nova.Server{rebuilding("a")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "pre-migrating", "d1")}
			}),
			want: "a:rebuilding",
		},
		{
			name: "sent again after a death, the new record is the one that counts",
			s: at(func(s *scene) {
				died(s, "d1")
				s.Snapshot.Servers = []nova.Server{rebuilding("a")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "pre-migrating", "d1"), evacuation(2, "a", "accepted", "")}
			}),
			want: "a:rebuilding",
		},
		{
			name: "accepted without a destination, placement knows that it was headed for a dead host",
			s: at(func(s *scene) {
				died(s, "d1")
				s.Now = t0.Add(4 * time.Minute)
				s.Snapshot.Servers = []nova.Server{rebuilding("a"), rebuilding("b")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "accepted", ""), evacuation(2, "b", "accepted", "")}
				s.Snapshot.Headed = map[string][]string{"a": {"src", "d1"}, "b": {"src", "d1", "d2"}}
				s.Snapshot.Courses = map[int]nova.Course{1: {Sent: t0.Add(11 * time.Second)}, 2: {Sent: t0.Add(11 * time.Second)}}
			}),
			want: "a:waiting b:rebuilding", send: "a",
		},
		{
			name: "the destination's time begins when the conductor has sent it, which may be late",
			s: at(func(s *scene) {
				died(s, "d1")
				died(s, "d2")
				s.Now = t0.Add(4 * time.Minute)
				s.Snapshot.Servers = []nova.Server{rebuilding("a"), rebuilding("b"), rebuilding("c"), rebuilding("d")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "accepted", ""), evacuation(2, "b", "accepted", "d1"), evacuation(3, "c", "accepted", "d1"), evacuation(4, "d", "accepted", "d1")}
				s.Snapshot.Headed = map[string][]string{"a": {"src", "d1"}}
				s.Snapshot.Courses = map[int]nova.Course{1: {Sent: t0.Add(3 * time.Minute)}, 2: {Sent: t0.Add(3 * time.Minute)}, 3: {}, 4: {Sent: t0.Add(11 * time.Second)}}
			}),
			want: "a:rebuilding b:rebuilding c:rebuilding d:waiting", send: "",
		},
		{
			name: "room on a host that was dead long before is left over from an earlier evacuation",
			s: at(func(s *scene) {
				died(s, "d1")
				s.Now = t0.Add(time.Hour)
				s.Snapshot.Services[1].Updated = t0.Add(-time.Hour)
				s.Snapshot.Servers = []nova.Server{rebuilding("a")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "accepted", "")}
				s.Snapshot.Headed = map[string][]string{"a": {"src", "d1"}}
			}),
			want: "a:rebuilding",
			wait: "vm-a for 1h0m0s: if nova-compute of its destination was restarted since, or Nova's database was away, it is stuck, and 'openstack server set --state error a'",
		},
		{
			name: "room on a dead host alone says nothing as long as that may come back and take it",
			s: at(func(s *scene) {
				died(s, "d1")
				s.Snapshot.Servers = []nova.Server{rebuilding("a")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "accepted", "")}
				s.Snapshot.Evacuations[0].Created = t0.Add(40 * time.Second)
				s.Snapshot.Headed = map[string][]string{"a": {"src", "d1"}}
			}),
			want: "a:rebuilding",
		},
		{
			name: "accepted with nothing set aside but on the source is not scheduled yet",
			s: at(func(s *scene) {
				died(s, "d1")
				s.Snapshot.Servers = []nova.Server{rebuilding("a")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "accepted", "")}
				s.Snapshot.Headed = map[string][]string{"a": {"src"}}
			}),
			want: "a:rebuilding",
		},
		{
			name: "what an operator says is stuck on a host goes there again, where its guest may be",
			s: at(func(s *scene) {
				s.Now = t0.Add(2 * time.Minute)
				stuck, exists, dead := server("a"), server("b"), server("c")
				stuck.VMState, exists.VMState, dead.VMState = "error", "error", "error"
				exists.Fault = "Instance vm-b already exists."
				died(s, "d2")
				s.Snapshot.Servers = []nova.Server{stuck, exists, dead}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "pre-migrating", "d1"), evacuation(2, "b", "failed", "d1"), evacuation(3, "c", "pre-migrating", "d2")}
			}),
			want: "a:waiting b:waiting c:waiting", send: "ad1 bd1",
		},
		{
			name: "where its guest may run on a host that cannot be used, it waits for that host",
			s: at(func(s *scene) {
				s.Now = t0.Add(2 * time.Minute)
				tookLate, silent, dead := server("a"), server("b"), server("c")
				tookLate.VMState, silent.VMState, dead.VMState = "error", "error", "error"
				died(s, "d1") // and was on again when it took this one
				s.Snapshot.Services[1].DisabledReason = "nova-evac gen=1 since=2026-03-01T03:00:20Z: fenced, being evacuated"
				s.Snapshot.Services[2].Up = false
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "pre-migrating", "d1"), evacuation(2, "b", "pre-migrating", "d2"), evacuation(3, "c", "pre-migrating", "d1")}
				s.Snapshot.Evacuations[0].Updated = t0.Add(50 * time.Second)
				s.Snapshot.Evacuations[2].Updated = t0.Add(10 * time.Second)
				s.Snapshot.Servers, s.FailedOnRecord = []nova.Server{tookLate, silent, dead}, 2
			}),
			want: "a:failed b:failed c:waiting", send: "c",
			wait: "its evacuation ended as pre-migrating (on d1); it may run there: sent to d1 again when that can be used, and elsewhere when it is fenced",
		},
		{
			name: "a record that its source's start has completed is over only where its events say so",
			s: at(func(s *scene) {
				for n, id := range []string{"a", "b"} {
					one := server(id)
					one.VMState = "error"
					m := evacuation(n+1, id, "completed", "d1")
					m.Created = t0.Add(-time.Hour)
					s.Snapshot.Servers, s.Snapshot.Evacuations = append(s.Snapshot.Servers, one), append(s.Snapshot.Evacuations, m)
				}
				hour := t0.Add(-time.Hour)
				s.Snapshot.Courses = map[int]nova.Course{1: {Taken: hour}, 2: {Taken: hour, Failed: true}}
			}),
			want: "a:waiting b:waiting", send: "ad1 b",
		},
		{
			name: "its source's start hides when an instance came, the events do not",
			s: at(func(s *scene) {
				s.Snapshot.Servers = []nova.Server{server("a"), server("b"), server("c")}
				for n, id := range []string{"a", "b", "c"} {
					m := evacuation(n+1, id, "completed", "src")
					m.Source, m.Created, m.Updated = "d1", t0.Add(-time.Minute), t0.Add(20*time.Second)
					s.Snapshot.Evacuations = append(s.Snapshot.Evacuations, m)
				}
				s.Snapshot.Courses = map[int]nova.Course{1: {Ended: t0.Add(-40 * time.Second)}, 2: {Ended: t0.Add(15 * time.Second)}}
			}),
			want: "a:waiting b:skipped c:waiting", send: "a c",
		},
		{
			name: "where the host was seen on again, an instance whose coming nobody can date is taken to have come since",
			s: at(func(s *scene) {
				s.Source = SourceGated
				s.Snapshot.Servers = []nova.Server{server("a")}
				m := evacuation(1, "a", "completed", "src")
				m.Source, m.Created, m.Updated = "d1", t0.Add(-time.Minute), t0.Add(20*time.Second)
				s.Snapshot.Evacuations = []nova.Migration{m}
			}),
			want: "a:skipped", settled: true,
		},
		{
			name: "an evacuation from before the fencing ends in a moment without a task",
			s: at(func(s *scene) {
				s.Snapshot.Servers = []nova.Server{server("a"), server("b")}
				s.Snapshot.Servers[0].Updated, s.Snapshot.Servers[1].Updated = t0.Add(55*time.Second), t0.Add(-time.Hour)
				for n, id := range []string{"a", "b"} {
					m := evacuation(n+1, id, "pre-migrating", "d1")
					m.Created, m.Updated = t0.Add(-time.Minute), t0.Add(-50*time.Second)
					s.Snapshot.Evacuations = append(s.Snapshot.Evacuations, m)
				}
			}),
			want: "a:rebuilding b:waiting", send: "bd1",
		},
		{
			name: "what Nova gave up without a word to anybody is sent again",
			s: at(func(s *scene) {
				s.Now = t0.Add(2 * time.Minute)
				s.Snapshot.Servers = []nova.Server{rebuilding("a"), rebuilding("b")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "accepted", ""), evacuation(2, "b", "accepted", "")}
				s.Snapshot.Courses = map[int]nova.Course{1: {Err: "MessagingTimeout"}, 2: {}}
			}),
			want: "a:waiting b:rebuilding", send: "a", wait: "1 sent",
		},
		{
			name: "what was given up before something else was sent counts no more",
			s: at(func(s *scene) {
				s.Now = t0.Add(2 * time.Minute)
				s.Snapshot.Servers = []nova.Server{rebuilding("a")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "accepted", ""), evacuation(2, "a", "accepted", "")}
				s.Snapshot.Courses = map[int]nova.Course{1: {Err: "MessagingTimeout"}}
			}),
			want: "a:rebuilding",
		},
		{
			name: "a destination that has taken later ones has lost one that it has not",
			s: at(func(s *scene) {
				s.Now = t0.Add(4 * time.Minute)
				s.Snapshot.Servers = []nova.Server{rebuilding("a"), rebuilding("b"), rebuilding("c"), rebuilding("d")}
				later := evacuation(4, "d", "pre-migrating", "d1")
				later.Created, later.Updated = t0.Add(20*time.Second), t0.Add(25*time.Second)
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "accepted", "d1"), evacuation(2, "b", "accepted", "d2"), evacuation(3, "c", "accepted", ""), later}
				sent := nova.Course{Sent: t0.Add(11 * time.Second)}
				s.Snapshot.Courses = map[int]nova.Course{1: sent, 2: sent, 3: sent}
				s.Snapshot.Headed = map[string][]string{"c": {"d1", "src"}}
			}),
			want: "a:waiting b:rebuilding c:waiting d:rebuilding",
		},
		{
			name: "it has not while it is away, or has begun, or nothing shows what came first",
			s: at(func(s *scene) {
				died(s, "d1")
				s.Snapshot.Services[1].ForcedDown = false
				s.Now = t0.Add(4 * time.Minute)
				s.Snapshot.Servers = []nova.Server{rebuilding("a"), rebuilding("b"), rebuilding("c"), rebuilding("d"), rebuilding("e")}
				later, too := evacuation(4, "d", "pre-migrating", "d1"), evacuation(5, "e", "pre-migrating", "d2")
				later.Created, too.Created = t0.Add(20*time.Second), t0.Add(20*time.Second)
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "accepted", "d1"), evacuation(2, "b", "accepted", "d2"), evacuation(3, "c", "accepted", "d2"), later, too}
				s.Snapshot.Courses = map[int]nova.Course{1: {Sent: t0.Add(11 * time.Second)}, 2: {Sent: t0.Add(18 * time.Second)}, 3: {Sent: t0.Add(11 * time.Second), Taken: t0.Add(12 * time.Second)}}
			}),
			want: "a:rebuilding b:rebuilding c:rebuilding d:rebuilding e:rebuilding",
		},
		{
			name: "a record left open by an earlier generation does not hold the instance back",
			s: at(func(s *scene) {
				old := evacuation(1, "a", "pre-migrating", "d1")
				old.Created = t0.Add(-time.Hour)
				s.Snapshot.Servers = []nova.Server{server("a")}
				s.Snapshot.Evacuations = []nova.Migration{old}
			}),
			want: "a:waiting", send: "a",
		},
		{
			name: "a record that the source's return has completed is still under way while its instance rebuilds",
			s: at(func(s *scene) {
				s.Snapshot.Servers = []nova.Server{rebuilding("a")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "completed", "d1")}
			}),
			want: "a:rebuilding", wait: "rebuilding (d1 1)",
		},
		{
			name: "nor is it over in the moment when the task has gone and the host has not changed",
			s: at(func(s *scene) {
				s.Snapshot.Servers = []nova.Server{server("a")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "completed", "d1")}
			}),
			want: "a:rebuilding",
		},
		{
			name: "a completed record whose destination has died is sent again, for nothing was completed",
			s: at(func(s *scene) {
				died(s, "d1")
				s.Snapshot.Servers = []nova.Server{rebuilding("a")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "completed", "d1")}
				s.Snapshot.Courses = map[int]nova.Course{1: {Sent: t0.Add(10 * time.Second), Taken: t0.Add(11 * time.Second)}}
			}),
			want: "a:waiting", send: "a",
		},
		{
			name: "nor was one completed that still waits for its destination or the conductor",
			s: at(func(s *scene) {
				died(s, "d1")
				s.Snapshot.Servers = []nova.Server{rebuilding("a"), rebuilding("b")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "completed", "d1"), evacuation(2, "b", "completed", "d1")}
				s.Snapshot.Courses = map[int]nova.Course{1: {Sent: t0.Add(10 * time.Second)}}
			}),
			want: "a:rebuilding b:rebuilding",
		},
		{
			name: "of what was sent only now nobody can say that it is stuck",
			s: at(func(s *scene) {
				s.Now = t0.Add(2 * time.Minute)
				s.Snapshot.Servers = []nova.Server{server("a"), server("b")}
				for n := range s.Snapshot.Servers {
					s.Snapshot.Servers[n].VMState = "error"
					m := evacuation(n+1, s.Snapshot.Servers[n].ID, "pre-migrating", "d1")
					m.Created = t0.Add(100 * time.Second)
					s.Snapshot.Evacuations = append(s.Snapshot.Evacuations, m)
				}
				s.Snapshot.Courses = map[int]nova.Course{2: {Taken: t0.Add(101 * time.Second), Failed: true}}
			}),
			want: "a:rebuilding b:waiting", send: "bd1",
		},
		{
			name: "an evacuation begun by hand before the fencing is waited for while it rebuilds",
			s: at(func(s *scene) {
				old := evacuation(1, "a", "pre-migrating", "d1")
				old.Created = t0.Add(-30 * time.Second)
				s.Snapshot.Servers = []nova.Server{rebuilding("a")}
				s.Snapshot.Evacuations = []nova.Migration{old}
			}),
			want: "a:rebuilding",
		},
		{
			name: "a rebuild by its user that the host took with it is no evacuation",
			s:    at(func(s *scene) { s.Snapshot.Servers = []nova.Server{rebuilding("a")} }),
			want: "a:waiting", send: "a",
		},
		{
			name: "an evacuation to this host from elsewhere is not this host's",
			s: at(func(s *scene) {
				m := evacuation(1, "a", "done", "src")
				m.Source = "d2"
				s.Snapshot.Servers = []nova.Server{server("a")}
				s.Snapshot.Evacuations = []nova.Migration{m}
			}),
			want: "a:waiting", send: "a",
		},
		{
			name: "what Nova cannot evacuate is left, with its reason, and holds nothing up",
			s: at(func(s *scene) {
				a, b := server("a"), server("b")
				a.VMState, b.TaskState = "paused", "deleting"
				s.Snapshot.Servers = []nova.Server{a, b}
			}),
			want: "a:skipped b:skipped", settled: true, wait: "2 skipped, vm-a: Nova does not evacuate an instance that is paused",
		},
		{
			name: "an instance of a cell that is down is waited for",
			s:    at(func(s *scene) { s.Snapshot.Servers = []nova.Server{{ID: "a", Partial: true}} }),
			want: "a:rebuilding",
		},
		{
			name: "after a takeover the first in the order are in doubt and those behind them go out",
			s: at(func(s *scene) {
				s.Doubt, s.DoubtUntil = 2, s.Now.Add(time.Second)
				s.Snapshot.Servers = []nova.Server{server("a"), rebuilding("b"), server("c"), server("d")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "b", "pre-migrating", "d1")}
			}),
			want: "a:doubtful b:rebuilding c:doubtful d:waiting", send: "d", wait: "the owner before may have sent it",
		},
		{
			name: "after a takeover what failed before is in doubt wherever it stands",
			s: at(func(s *scene) {
				s.Doubt, s.DoubtUntil = 1, s.Now.Add(time.Second)
				s.Snapshot.Servers = []nova.Server{server("a"), server("b"), server("z")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "z", "failed", "d1")}
			}),
			want: "a:doubtful b:waiting z:doubtful", send: "b",
		},
		{
			name: "the time of doubt over, they are sent",
			s: at(func(s *scene) {
				s.Doubt, s.DoubtUntil = 2, s.Now
				s.Snapshot.Servers = []nova.Server{server("a")}
			}),
			want: "a:waiting", send: "a",
		},
		{
			name: "when more have failed than the record tells a next owner, nothing more is sent",
			s: at(func(s *scene) {
				for _, id := range []string{"a", "b"} {
					s.Snapshot.Servers = append(s.Snapshot.Servers, server(id))
					s.Attempts[id] = Attempt{Answered: answered, Over: true, NotBefore: s.Now.Add(time.Second)}
				}
				s.Snapshot.Servers = append(s.Snapshot.Servers, server("d"))
			}),
			want: "a:failed b:failed d:waiting", wait: "1 waiting for a slot",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan := c.s.decide(policy)
			nameless := func(i Instance) Instance { i.Name = ""; return i }
			if diff := cmp.Diff(plan, c.s.blank().decide(policy), cmp.Transformer("nameless", nameless), cmp.AllowUnexported(history.Time{})); diff != "" {
				t.Errorf("with every sentence blank: %s", diff)
			}
			var got []string
			for _, i := range plan.Instances {
				got = append(got, i.ID+":"+string(i.State))
			}
			if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("verdicts: %s", diff)
			}
			var sent []string
			for _, send := range plan.Send {
				sent = append(sent, send.ID+send.Dest)
			}
			if diff := cmp.Diff(c.send, strings.Join(sent, " ")); diff != "" {
				t.Errorf("sent: %s", diff)
			}
			if plan.Settled != c.settled {
				t.Errorf("settled: %v", plan.Settled)
			}
			if wait := Words(plan, c.s.situation()); !strings.Contains(wait, c.wait) {
				t.Errorf("waits for %q, expected in it %q", wait, c.wait)
			}
		})
	}
}

func TestDoneIsCountedFromNovaAlone(t *testing.T) {
	s := at(func(s *scene) {
		s.Snapshot.Servers = []nova.Server{server("c")}
		old := evacuation(1, "x", "completed", "d1")
		old.Created = t0.Add(-time.Hour)
		s.Snapshot.Evacuations = []nova.Migration{old, evacuation(2, "a", "failed", "d1"), evacuation(3, "a", "done", "d2"),
			evacuation(4, "b", "completed", "d1"), evacuation(5, "c", "done", "d1"), evacuation(6, "d", "error", "")}
	})
	if plan := s.decide(policy); plan.Done != 2 {
		t.Errorf("%d done; a and b are, c is still on the host, d failed and was deleted, x is of an earlier time", plan.Done)
	}
}

func TestNovasClockMayBeAheadOrBehind(t *testing.T) {
	for _, skew := range []time.Duration{-time.Hour, time.Hour} {
		s := at(func(s *scene) {
			s.Skew = skew
			m := evacuation(1, "a", "pre-migrating", "d1")
			m.Created = t0.Add(skew + time.Second)
			s.Snapshot.Servers = []nova.Server{server("a")}
			s.Snapshot.Evacuations = []nova.Migration{m}
		})
		if plan := s.decide(policy); len(plan.Send) != 0 {
			t.Errorf("skew %v: an evacuation of this generation was taken for an old one", skew)
		}
	}
}

func TestLearn(t *testing.T) {
	answered := t0.Add(30 * time.Second)
	for _, c := range []struct {
		name string
		s    scene
		want Attempt
	}{
		{"an instance that is still there with nothing under way has failed",
			at(func(s *scene) {
				s.Snapshot.Servers = []nova.Server{server("a")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "failed", "d1")}
				s.Attempts["a"] = Attempt{Answered: answered, Failures: 1}
			}),
			Attempt{Answered: answered, Over: true, Failures: 2, NotBefore: t0.Add(70 * time.Second)}},
		{"one whose destination died has not failed",
			at(func(s *scene) {
				died(s, "d1")
				s.Snapshot.Servers = []nova.Server{rebuilding("a")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "pre-migrating", "d1")}
				s.Attempts["a"] = Attempt{Answered: answered}
			}),
			Attempt{Answered: answered, Over: true}},
		{"one under way is not over",
			at(func(s *scene) {
				s.Snapshot.Servers = []nova.Server{rebuilding("a")}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "accepted", "")}
				s.Attempts["a"] = Attempt{Answered: answered}
			}),
			Attempt{Answered: answered}},
		{"one whose answer was lost is not over before its time",
			at(func(s *scene) {
				s.Snapshot.Servers = []nova.Server{server("a")}
				s.Attempts["a"] = Attempt{Answered: answered, UnknownUntil: s.Now.Add(time.Second)}
			}),
			Attempt{Answered: answered, UnknownUntil: t0.Add(61 * time.Second)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, Learn(c.s.situation(), policy)["a"]); diff != "" {
				t.Error(diff)
			}
		})
	}
	s := at(func(s *scene) { s.Attempts["a"] = Attempt{Answered: answered} })
	if got := Learn(s.situation(), policy); len(got) != 0 {
		t.Errorf("an instance that has left is still remembered: %v", got)
	}
}

func TestPausesGrowToTheirBound(t *testing.T) {
	var got []time.Duration
	for n := 1; n < 10; n++ {
		got = append(got, policy.Pause(n)/time.Second)
	}
	if want := "[5ns 10ns 20ns 40ns 80ns 160ns 300ns 300ns 300ns]"; fmt.Sprint(got) != want {
		t.Errorf("%v", got)
	}
}

// dead answers whether a host is forced down.
func dead(host string, services map[string]nova.Service) bool { return services[host].ForcedDown }

// Whatever Nova shows, some things must never happen.
func TestDecideNeverSendsWhatMayBeUnderWay(t *testing.T) {
	hosts := []string{"", "d1", "d2", "src"}
	rapid.Check(t, func(t *rapid.T) {
		s := at(nil)
		if rapid.Bool().Draw(t, "d1 died") {
			died(&s, "d1")
		}
		s.Snapshot.Services[0].ForcedDown = rapid.Bool().Draw(t, "down")
		for n := range rapid.IntRange(0, 6).Draw(t, "servers") {
			id := string(rune('a' + n))
			srv := server(id)
			srv.VMState = rapid.SampledFrom([]string{"active", "stopped", "error", "paused"}).Draw(t, "vm")
			srv.TaskState = rapid.SampledFrom([]string{"", "rebuilding", "rebuild_spawning", "powering-off", "deleting"}).Draw(t, "task")
			s.Snapshot.Servers = append(s.Snapshot.Servers, srv)
			for range rapid.IntRange(0, 2).Draw(t, "records") {
				s.Snapshot.Evacuations = append(s.Snapshot.Evacuations, evacuation(len(s.Snapshot.Evacuations)+1, id,
					rapid.SampledFrom([]nova.Status{"accepted", "pre-migrating", "done", "completed", "error", "failed"}).Draw(t, "status"),
					rapid.SampledFrom(hosts).Draw(t, "dest")))
			}
			if rapid.Bool().Draw(t, "tried") {
				s.Attempts[id] = Attempt{Pending: rapid.Bool().Draw(t, "pending"), LastRecord: rapid.IntRange(0, 3).Draw(t, "last"),
					Answered: s.Snapshot.Began.Add(time.Duration(rapid.IntRange(-5, 5).Draw(t, "answered")) * time.Second)}
			}
		}
		plan := s.decide(policy)
		if len(plan.Send) > 0 && !s.Snapshot.Services[0].ForcedDown {
			t.Fatal("sent from a host that is not known to be down")
		}
		if len(plan.Send)+plan.Count(Sent, Rebuilding) > max(policy.MaxInFlight, plan.Count(Sent, Rebuilding)) {
			t.Fatal("more in flight than allowed")
		}
		if plan.Settled && plan.Count(Skipped) != len(plan.Instances) {
			t.Fatal("settled with instances left that can be evacuated")
		}
		for _, send := range plan.Send {
			id := send.ID
			if send.Dest == "src" || send.Dest != "" && dead(send.Dest, map[string]nova.Service{"d1": s.Snapshot.Services[1]}) {
				t.Fatalf("%s was sent to %s", id, send.Dest)
			}
			if a := s.Attempts[id]; a.Pending || !a.Answered.Before(s.Snapshot.Began) {
				t.Fatalf("%s was sent again while its request may be under way", id)
			}
			srv := s.Snapshot.Servers[slices.IndexFunc(s.Snapshot.Servers, func(one nova.Server) bool { return one.ID == id })]
			if srv.VMState == "error" && srv.TaskState == "" {
				continue // it has failed, whatever the records say
			}
			for _, m := range s.Snapshot.Evacuations {
				if m.Instance == id && m.Status == "pre-migrating" && m.Dest != "src" && m.Dest != "" && !dead(m.Dest, map[string]nova.Service{
					"d1": s.Snapshot.Services[1], "d2": s.Snapshot.Services[2]}) {
					t.Fatalf("%s was sent again while %s rebuilds it", id, m.Dest)
				}
			}
		}
	})
}

func TestPolicyDecidesOnWhatCostsTheUserSomething(t *testing.T) {
	with := func(state string, records ...nova.Migration) scene {
		return at(func(s *scene) {
			one := server("a")
			one.VMState = state
			s.WasDown, s.Snapshot.Servers, s.Snapshot.Evacuations = true, []nova.Server{one}, records
		})
	}
	failed := evacuation(1, "a", "failed", "d1")
	for _, c := range []struct {
		name   string
		s      scene
		change func(*Policy)
		want   string
	}{
		{"an instance in error is evacuated", with("error"), nil, "[{a  false false}]"},
		{"or left", with("error"), func(p *Policy) { p.LeaveError = true }, "[]"},
		{"but not one whose rebuild has failed", with("error", failed), func(p *Policy) { p.LeaveError = true }, "[{a d2 true false}]"},
		{"a paused one is left", with("paused"), nil, "[]"},
		{"or reset first", with("paused"), func(p *Policy) { p.ResetStates = []string{"paused"} }, "[{a  false true}]"},
		{"which says nothing of other states", with("suspended"), func(p *Policy) { p.ResetStates = []string{"paused"} }, "[]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := policy
			if c.change != nil {
				c.change(&p)
			}
			if got := fmt.Sprint(c.s.decide(p).Send); got != c.want {
				t.Errorf("sends %s, expected %s", got, c.want)
			}
		})
	}
}

func TestOfThoseInErrorThoseAreTracedWhoseTurnIsNextAndThoseThatWaitForAHost(t *testing.T) {
	s := at(func(s *scene) {
		for n, id := range []string{"a", "b", "c", "d"} {
			one := server(id)
			one.VMState = "error"
			m := evacuation(n+1, id, "completed", "d1")
			m.Created = t0.Add(-time.Hour)
			s.Snapshot.Servers, s.Snapshot.Evacuations = append(s.Snapshot.Servers, one), append(s.Snapshot.Evacuations, m)
		}
		s.Snapshot.Servers[1].VMState = "active"
		held := server("e")
		held.VMState = "error"
		s.Snapshot.Servers = append(s.Snapshot.Servers, held)
		s.Snapshot.Evacuations = append(s.Snapshot.Evacuations, evacuation(5, "e", "completed", "d2"))
		s.Snapshot.Services[2].Up = false
		s.Now = t0.Add(2 * time.Minute)
	})
	var traced []string
	for _, m := range Ask(s.situation(), Policy{MaxInFlight: 3}).Trace {
		traced = append(traced, m.Instance)
	}
	if diff := cmp.Diff([]string{"a", "c", "e"}, traced); diff != "" {
		t.Error(diff)
	}
}

// A zone of two hosts in a cloud of forty. One rebuild has failed on one of the two.
func TestOnlyHostsOfTheSameZoneAreNamed(t *testing.T) {
	for _, c := range []struct {
		name  string
		zones [2]string // of the two, and of all others
		wrong int       // how often a host is named that does not fit
	}{
		{"the zones are shown", [2]string{"a", "b"}, 0},
		{"what does not fit is not shown", [2]string{"nova", "nova"}, 38},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := at(nil)
			s.WasDown = true
			service := func(host, zone string) nova.Service {
				return nova.Service{Host: host, Zone: zone, Up: true, Enabled: true}
			}
			s.Snapshot.Services = []nova.Service{{Host: "src", Zone: c.zones[0], ForcedDown: true}, service("a1", c.zones[0])}
			for n := range 38 {
				s.Snapshot.Services = append(s.Snapshot.Services, service(fmt.Sprintf("b%02d", n), c.zones[1]))
			}
			s.Snapshot.Services = append(s.Snapshot.Services, service("z2", c.zones[0]))
			one := server("a")
			one.VMState, one.Fault = "error", "image download failed"
			s.Snapshot.Servers = []nova.Server{one}
			s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "failed", "a1")}
			s.Attempts["a"] = Attempt{Answered: t0.Add(15 * time.Second)}
			wrong, last := 0, ""
			for n := 2; n < 200 && last != "z2"; n++ {
				s.Snapshot.Began = s.Now
				s.Attempts = Learn(s.situation(), DefaultPolicy)
				if nb := s.Attempts["a"].NotBefore; nb.After(s.Now) {
					s.Now = nb
				}
				plan := Decide(s.situation(), DefaultPolicy)
				if len(plan.Send) != 1 {
					t.Fatalf("%+v", plan)
				}
				before := last
				last = plan.Send[0].Dest
				m := evacuation(n, "a", "error", last) // no valid host: it is not in the zone
				switch {
				case last == "": // the scheduler's choice
					m = evacuation(n, "a", "failed", "a1")
				case before != "" && last != "z2":
					t.Fatalf("%s was named after %s, which did not fit", last, before)
				case last != "z2":
					wrong++
				}
				m.Created = s.Now
				s.Snapshot.Evacuations = append(s.Snapshot.Evacuations, m)
				a := s.Attempts["a"]
				s.Attempts["a"] = Attempt{Answered: s.Now, LastRecord: n - 1, Failures: a.Failures}
				s.Now = s.Now.Add(time.Second)
			}
			if wrong != c.wrong || last != "z2" {
				t.Errorf("%d wrong ones were named, and then %q", wrong, last)
			}
		})
	}
}

// The host came back and was fenced again while an instance waited for its retry.
func TestWhatFailedBeforeASecondFencingIsNotForgotten(t *testing.T) {
	for _, c := range []struct {
		name   string
		failed time.Duration // before the fencing
		again  bool
	}{
		{"it failed in the generation before", 5 * time.Minute, true},
		{"it failed yesterday", 23 * time.Hour, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := at(func(s *scene) {
				s.WasDown = true
				one := server("a")
				one.VMState, one.Fault = "error", "No space left on device"
				m := evacuation(1, "a", "failed", "d1")
				m.Created = t0.Add(-c.failed)
				m.Updated = m.Created.Add(10 * time.Second)
				s.Snapshot.Servers, s.Snapshot.Evacuations = []nova.Server{one}, []nova.Migration{m}
			})
			leave := policy
			leave.LeaveError = true
			if plan := s.decide(leave); (len(plan.Send) == 1) != c.again {
				t.Errorf("with leave_error: %+v", plan.Instances)
			}
			if plan := s.decide(policy); len(plan.Send) != 1 || plan.Send[0].Again != c.again {
				t.Errorf("%+v", plan.Send)
			}
		})
	}
}

// A hypervisor has found the guest. Then a host that was switched on took an old message up,
// and what Nova shows of the guest is gone.
func TestAGuestThatAHypervisorHasFoundIsNotForgotten(t *testing.T) {
	for _, c := range []struct {
		name   string
		d1     nova.Service
		dest   string // where the instance is sent
		states int    // how many are sent
	}{
		{"its host can be used", nova.Service{Host: "d1", Up: true, Enabled: true}, "d1", 1},
		{"its host cannot be used", nova.Service{Host: "d1", Enabled: true}, "", 0},
		{"its host was fenced", nova.Service{Host: "d1", ForcedDown: true}, "", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := at(func(s *scene) {
				s.WasDown = true
				one := server("a")
				one.VMState, one.Fault = "error", "Instance a already exists."
				s.Snapshot.Servers = []nova.Server{one}
				s.Snapshot.Evacuations = []nova.Migration{evacuation(1, "a", "failed", "d1")}
				s.Attempts["a"] = Attempt{Answered: t0.Add(15 * time.Second)}
			})
			s.Attempts = Learn(s.situation(), policy)
			if on := s.Attempts["a"].GuestOn; on != "d1" {
				t.Fatalf("its guest is on %q", on)
			}
			s.Now = s.Attempts["a"].NotBefore
			s.Snapshot.Servers[0].Fault = "another one's"
			s.Snapshot.Evacuations[0].Dest = "d2"
			s.Snapshot.Services[1] = c.d1
			plan := s.decide(policy)
			if len(plan.Send) != c.states || c.states == 1 && plan.Send[0].Dest != c.dest && c.dest != "" || c.states == 1 && c.dest == "" && plan.Send[0].Dest == "d1" {
				t.Errorf("%+v, %+v", plan.Send, plan.Instances)
			}
		})
	}
}
