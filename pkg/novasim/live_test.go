package novasim

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// The tests of this file repeat experiments on Nova 26.2.2. The letters are those of the
// experiments.

func TestEvacuateByState(t *testing.T) {
	const onAny = "ACTIVE active - compute-2"
	for _, c := range []struct {
		name, vmState, answer, end, records string
	}{
		{"an active instance arrives", "active", "ok", onAny, "done compute-2"},
		{"an instance in error becomes active", "error", "ok", onAny, "done compute-2"},
		{"a stopped instance stays stopped", "stopped", "ok", "SHUTOFF stopped - compute-2", "done compute-2"},
		{"a paused one is refused", "paused", "409 Cannot 'evacuate' instance ID while it is in vm_state paused", "PAUSED paused - compute-1", ""},
		{"a suspended one is refused", "suspended", "409 Cannot 'evacuate' instance ID while it is in vm_state suspended", "SUSPENDED suspended - compute-1", ""},
		{"a rescued one is refused", "rescued", "409 Cannot 'evacuate' instance ID while it is in vm_state rescued", "RESCUE rescued - compute-1", ""},
		{"one that is being built is refused", "building", "409 Cannot 'evacuate' instance ID while it is in vm_state building", "BUILD building - compute-1", ""},
		{"a resized one is refused", "resized", "409 Cannot 'evacuate' instance ID while it is in vm_state resized", "VERIFY_RESIZE resized - compute-1", ""},
		{"a shelved one is refused", "shelved", "409 Cannot 'evacuate' instance ID while it is in vm_state shelved", "SHELVED shelved - compute-1", ""},
		{"a soft-deleted one is refused", "soft-delete", "409 Cannot 'evacuate' instance ID while it is in vm_state soft-delete", "SOFT_DELETED soft-delete - compute-1", ""},
		{"one without a host is refused for its host", "shelved_offloaded", "400 The target host can't be the same one.", "SHELVED_OFFLOADED shelved_offloaded - -", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSim(t, nil)
			id := s.bootAs("compute-1", c.vmState)
			s.down("compute-1")
			s.is("answer", strings.ReplaceAll(s.evacuate(id, ""), id, "ID"), c.answer)
			s.pass(time.Minute)
			s.is("end", s.server(id), c.end)
			s.is("records", s.records(id), c.records)
			s.is("breaches", s.breaches(), "")
		})
	}
}

func TestTheNormalCourse(t *testing.T) {
	s := newSim(t, nil)
	id := s.boot("compute-1")
	s.down("compute-1")
	s.accepted(id, "")
	s.looks("at once", id, "REBUILD active rebuilding compute-1", "accepted ?", "")
	if m := s.cloud.Migrations("")[0]; !m.Updated.IsZero() {
		t.Errorf("an accepted record was updated at %v", m.Updated)
	}
	s.pass(time.Second)
	s.looks("claimed", id, "REBUILD active rebuild_block_device_mapping compute-1", "pre-migrating compute-2", "")
	if m := s.cloud.Migrations("")[0]; !m.Updated.Equal(s.now) {
		t.Errorf("a claimed record was updated at %v", m.Updated)
	}
	s.pass(time.Second)
	s.looks("spawning", id, "REBUILD active rebuild_spawning compute-1", "pre-migrating compute-2", "")

	// From one event to the next: the states that last a moment only.
	var seen []string
	for range 3 {
		at, more := s.cloud.Next()
		if !more {
			t.Fatal("nothing more happens")
		}
		s.now = at
		seen = append(seen, s.server(id)+", "+s.records(id)+", "+s.guests(id))
	}
	s.is("the end", strings.Join(seen, "\n"), strings.Join([]string{
		"ACTIVE active - compute-1, pre-migrating compute-2, compute-2", // no task is not completion
		"ACTIVE active - compute-2, pre-migrating compute-2, compute-2",
		"ACTIVE active - compute-2, done compute-2, compute-2",
	}, "\n"))
	if took := s.now.Sub(time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)); took < 13*time.Second || took > 15*time.Second {
		t.Errorf("it took %v", took)
	}
	if at, more := s.cloud.Next(); more {
		t.Errorf("something more will happen at %v", at)
	}
	if r := s.cloud.Report(); r.Evacuated != 1 || r.Running != 1 || r.MostAccepted != 1 || len(r.Breaches) > 0 {
		t.Errorf("report: %+v", r)
	}
}

func TestARebuildWaitsAfterItsClaim(t *testing.T) {
	s := newSim(t, nil)
	id := s.boot("compute-1")
	s.host("compute-2", HostChange{ClaimDelay: "5s"})
	s.down("compute-1")
	s.accepted(id, "compute-2")
	s.is("dest_compute is what was asked for", s.records(id), "accepted compute-2")
	s.pass(5 * time.Second)
	s.looks("claimed", id, "REBUILD active rebuilding compute-1", "pre-migrating compute-2", "")
	s.pass(time.Second)
	s.looks("after its delay", id, "REBUILD active rebuild_block_device_mapping compute-1", "pre-migrating compute-2", "")
}

func TestAnEvacuationWithoutAHostFails(t *testing.T) {
	for _, c := range []struct {
		name, target string
		prepare      func(*sim)
	}{
		{"every host is disabled", "", func(s *sim) {
			for _, h := range []string{"compute-2", "compute-3", "compute-4"} {
				s.setStatus(h, "disabled")
			}
		}},
		{"the target is disabled", "compute-2", func(s *sim) { s.setStatus("compute-2", "disabled") }},
		{"the target is forced down", "compute-2", func(s *sim) { s.setForcedDown("compute-2", true) }},
		{"every host is full", "", func(s *sim) {
			for _, h := range []string{"compute-2", "compute-3", "compute-4"} {
				s.boot(h)
				s.host(h, HostChange{Capacity: new(1)})
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSim(t, nil)
			id := s.boot("compute-1")
			s.down("compute-1")
			c.prepare(s)
			s.accepted(id, c.target)
			s.pass(time.Second)
			dest := c.target
			if dest == "" {
				dest = "?"
			}
			s.looks("then", id, "ERROR error - compute-1", "error "+dest, "")
			s.is("fault", s.fault(id), "No valid host was found. There are not enough hosts available.")
			s.host("compute-3", HostChange{Capacity: new(0)})
			s.setStatus("compute-3", "enabled")
			s.accepted(id, "compute-3")
			s.pass(time.Minute)
			s.looks("again", id, "ACTIVE active - compute-3", "error "+dest+", done compute-3", "compute-3")
			s.is("breaches", s.breaches(), "")
		})
	}
}

func TestTheOldestAcceptedRecordIsTheOneInError(t *testing.T) {
	s := newSim(t, nil)
	id := s.boot("compute-1")
	s.down("compute-1")
	s.controllers(ControllerChange{Scheduler: "freeze"})
	s.accepted(id, "")
	s.pass(2 * time.Minute)
	s.controllers(ControllerChange{Scheduler: "thaw"})
	for _, h := range []string{"compute-2", "compute-3", "compute-4"} {
		s.setStatus(h, "disabled")
	}
	s.accepted(id, "")
	s.pass(time.Minute)
	s.looks("then", id, "ERROR error - compute-1", "error ?, accepted ?", "")
}

func TestTheSourceIsNeverChosen(t *testing.T) {
	s := newSim(t, func(c *Config) { c.Hosts = []string{"compute-1"} })
	id := s.boot("compute-1")
	s.down("compute-1")
	s.accepted(id, "")
	s.setForcedDown("compute-1", false) // up again before the scheduler looks
	s.pass(time.Minute)
	s.is("server", s.server(id), "ERROR error - compute-1")
}

func TestARebuildFailsAndIsSentAgain(t *testing.T) { // D
	s := newSim(t, nil)
	id := s.boot("compute-1")
	s.down("compute-1")
	s.host("compute-2", HostChange{Fail: new("boom"), FailCount: 1})
	s.accepted(id, "compute-2")
	s.pass(time.Minute)
	s.looks("failed", id, "ERROR error - compute-1", "failed compute-2", "")
	s.is("fault", s.fault(id), "boom")
	s.accepted(id, "compute-2")
	s.pass(time.Minute)
	s.looks("again", id, "ACTIVE active - compute-2", "failed compute-2, done compute-2", "compute-2")

	var events []string
	actions, err := s.cloud.Actions(id, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range actions {
		for _, e := range a.Events {
			events = append(events, fmt.Sprintf("%s failed=%v %s %s %s", a.Name, a.Failed, e.Name, e.Result, e.Details))
		}
	}
	s.is("actions, newest first", strings.Join(events, "\n"), strings.Join([]string{
		"evacuate failed=false rebuild_server Success ",
		"evacuate failed=false compute_rebuild_instance Success ",
		"evacuate failed=true rebuild_server Success ",
		"evacuate failed=true compute_rebuild_instance Error boom",
	}, "\n"))
}

func TestASecondEvacuationInFlight(t *testing.T) { // A
	t.Run("while rebuilding it leaves a server stuck in REBUILD", func(t *testing.T) {
		s := newSim(t, func(c *Config) { c.ClaimDelay, c.RebuildTime = 5*time.Second, 1 })
		id := s.boot("compute-1")
		s.down("compute-1")
		s.accepted(id, "compute-2")
		s.pass(4 * time.Second)
		s.accepted(id, "compute-3")
		s.pass(time.Minute)
		s.looks("end", id, "REBUILD error rebuilding compute-2", "done compute-2, failed compute-3", "compute-2")
		s.is("breaches", s.breaches(), "double_send")
	})
	t.Run("while spawning it makes guests on both", func(t *testing.T) {
		s := newSim(t, nil)
		id := s.boot("compute-1")
		s.down("compute-1")
		s.accepted(id, "compute-2")
		s.pass(4 * time.Second)
		s.is("before", s.server(id), "REBUILD active rebuild_spawning compute-1")
		s.accepted(id, "compute-3")
		s.pass(time.Minute)
		s.looks("end", id, "ERROR error - compute-2", "done compute-2, failed compute-3", "compute-2 compute-3")
		s.is("fault", s.fault(id), "Conflict updating instance "+id+". Expected: {'task_state': ['rebuild_spawning']}. Actual: {'task_state': None}")
		s.is("breaches", s.breaches(), "double_send split_brain")
	})
}

func TestADestinationThatDies(t *testing.T) { // B
	prepare := func(t *testing.T) (*sim, string) {
		s := newSim(t, nil)
		id := s.boot("compute-1")
		s.down("compute-1")
		s.accepted(id, "compute-2")
		s.pass(4 * time.Second)
		s.host("compute-2", HostChange{Power: "off"})
		s.pass(time.Hour)
		s.looks("stuck", id, "REBUILD active rebuild_spawning compute-1", "pre-migrating compute-2", "")
		if r := s.cloud.Report(); r.Waiting != 1 || r.InProgress != 0 {
			t.Errorf("report: %+v", r)
		}
		return s, id
	}
	t.Run("its restart changes nothing", func(t *testing.T) {
		s, id := prepare(t)
		s.host("compute-2", HostChange{Power: "on"})
		s.pass(time.Hour)
		s.looks("then", id, "REBUILD active rebuild_spawning compute-1", "pre-migrating compute-2", "")
	})
	t.Run("a restart so quick that the rebuild would not be due yet changes nothing either", func(t *testing.T) {
		s := newSim(t, nil)
		id := s.boot("compute-1")
		s.down("compute-1")
		s.accepted(id, "compute-2")
		s.pass(4 * time.Second)
		s.host("compute-2", HostChange{Compute: "kill"})
		s.host("compute-2", HostChange{Compute: "start"})
		s.pass(time.Hour)
		s.looks("then", id, "REBUILD active rebuild_spawning compute-1", "pre-migrating compute-2", "")
	})
	t.Run("a second evacuation works, and the old record stays for ever", func(t *testing.T) {
		s, id := prepare(t)
		s.setForcedDown("compute-2", true)
		s.accepted(id, "")
		s.pass(time.Hour)
		s.looks("then", id, "ACTIVE active - compute-3", "pre-migrating compute-2, done compute-3", "compute-3")
		s.host("compute-2", HostChange{Power: "on"})
		s.host("compute-1", HostChange{Power: "on"})
		s.pass(time.Hour)
		s.looks("all are back", id, "ACTIVE active - compute-3", "pre-migrating compute-2, completed compute-3", "compute-3")
		s.is("breaches", s.breaches(), "")
	})
	t.Run("a restart of the source loses the instance", func(t *testing.T) { // B2
		s, id := prepare(t)
		s.host("compute-1", HostChange{Power: "on"})
		s.looks("then", id, "REBUILD active rebuild_spawning compute-1", "completed compute-2", "")
		s.is("breaches", s.breaches(), "lost")
	})
}

func TestADeadDestinationReplaysItsMessage(t *testing.T) { // C
	s := newSim(t, nil)
	id := s.boot("compute-1")
	s.down("compute-1")
	s.host("compute-2", HostChange{Power: "off"})
	s.accepted(id, "compute-2")
	s.pass(30 * time.Second)
	s.looks("believed up", id, "REBUILD active rebuilding compute-1", "accepted compute-2", "")
	s.accepted(id, "compute-3")
	s.pass(time.Minute)
	s.looks("sent elsewhere", id, "ACTIVE active - compute-3", "done compute-3, accepted compute-3", "compute-3")
	s.host("compute-2", HostChange{Power: "on"})
	s.pass(time.Minute)
	s.looks("it comes back", id, "REBUILD error rebuilding compute-3", "failed compute-2, accepted compute-3", "compute-3")
	s.is("breaches: the destination was off", s.breaches(), "")
}

func TestTheSourceRestartsInTheMiddle(t *testing.T) { // F
	s := newSim(t, nil)
	id := s.boot("compute-1")
	s.down("compute-1")
	s.accepted(id, "compute-2")
	s.pass(4 * time.Second)
	s.host("compute-1", HostChange{Power: "on"})
	s.is("completed means nothing", s.records(id), "completed compute-2")
	s.pass(time.Minute)
	s.looks("the destination overwrites it", id, "ACTIVE active - compute-2", "done compute-2", "compute-2")
	refused := "400 Unable to force up host compute-1 as `done` evacuation migration records remain associated with the host. " +
		"Ensure the compute service has been restarted, allowing these records to move to `completed` before retrying this request."
	s.is("force-up", s.setForcedDown("compute-1", false), refused)
	s.host("compute-1", HostChange{Compute: "kill"})
	s.host("compute-1", HostChange{Compute: "start"})
	if got := s.setForcedDown("compute-1", false); got != "ok" {
		t.Errorf("after a second restart: %s", got)
	}
	s.is("breaches", s.breaches(), "")
}

func TestForcedDownIsCleared(t *testing.T) { // G
	s := newSim(t, nil)
	id := s.boot("compute-1")
	s.down("compute-1")
	s.is("forced down", s.serviceState("compute-1"), "up=false enabled forced=true")
	if got := s.setForcedDown("compute-1", false); got != "ok" {
		t.Fatalf("without done records: %s", got)
	}
	s.is("up, though dead", s.serviceState("compute-1"), "up=true enabled forced=false")
	s.is("evacuate", s.evacuate(id, ""), "400 Compute service of compute-1 is still in use.")
	s.pass(time.Minute + time.Second)
	s.is("found out", s.serviceState("compute-1"), "up=false enabled forced=false")
	s.accepted(id, "")
	s.pass(time.Minute)
	if got := s.setForcedDown("compute-1", false); !strings.HasPrefix(got, "400") {
		t.Errorf("with a done record: %s", got)
	}
}

func TestANormalReturnOfTheSource(t *testing.T) {
	s := newSim(t, nil)
	id := s.boot("compute-1")
	stays := s.boot("compute-1")
	s.down("compute-1")
	s.accepted(id, "compute-2")
	s.pass(time.Minute)
	s.host("compute-1", HostChange{Power: "on", Compute: "held"})
	s.is("held: record", s.records(id), "done compute-2")
	s.host("compute-1", HostChange{Compute: "start"})
	s.looks("it is back", id, "ACTIVE active - compute-2", "completed compute-2", "compute-2")
	s.is("forced_down stays", s.serviceState("compute-1"), "up=false enabled forced=true")
	s.is("who was not evacuated lies on disk", s.guests(stays), "")
	if r := s.cloud.Report(); r.Off != 1 || len(r.Breaches) > 0 {
		t.Errorf("report: %+v", r)
	}
	s.is("stop", said(s.cloud.Stop(stays, "")), "ok")
	s.is("start", said(s.cloud.Start(stays, "")), "ok")
	s.is("and can be started", s.guests(stays), "compute-1")
}

func TestAFrozenConductor(t *testing.T) { // H
	s := newSim(t, nil)
	id := s.boot("compute-1")
	s.down("compute-1")
	s.controllers(ControllerChange{Conductor: "freeze"})
	s.accepted(id, "compute-2")
	s.pass(time.Hour)
	s.looks("frozen", id, "REBUILD active rebuilding compute-1", "accepted compute-2", "")
	s.accepted(id, "compute-2")
	s.pass(time.Hour)
	s.controllers(ControllerChange{Conductor: "thaw"})
	s.pass(time.Hour)
	s.looks("back", id, "ERROR error - compute-2", "done compute-2, failed compute-2", "compute-2")
	s.is("fault", s.fault(id), "Instance vm-1 already exists.")
	s.is("breaches", s.breaches(), "double_send")
}

func TestAFrozenScheduler(t *testing.T) { // I
	s := newSim(t, nil)
	id := s.boot("compute-1")
	s.down("compute-1")
	s.controllers(ControllerChange{Scheduler: "freeze"})
	s.accepted(id, "")
	s.pass(time.Hour)
	s.controllers(ControllerChange{Scheduler: "thaw"})
	s.pass(time.Hour)
	s.looks("stuck for ever", id, "REBUILD active rebuilding compute-1", "accepted ?", "")
	s.accepted(id, "")
	s.pass(time.Minute)
	// The older record is the one that the new call drives.
	s.looks("a new call works", id, "ACTIVE active - compute-2", "done compute-2, accepted ?", "compute-2")
	s.is("breaches", s.breaches(), "")
}

func TestADeleteInFlight(t *testing.T) { // J
	s := newSim(t, nil)
	id := s.boot("compute-1")
	s.down("compute-1")
	s.accepted(id, "compute-2")
	s.pass(4 * time.Second)
	s.is("delete", said(s.cloud.Delete(id)), "ok")
	s.pass(time.Minute)
	s.looks("then", id, "404", "", "compute-2")
	if r := s.cloud.Report(); r.Orphans != 1 || r.Instances != 0 || len(r.Breaches) > 0 {
		t.Errorf("report: %+v", r)
	}
}

func TestAGracefulStopFinishesFirst(t *testing.T) { // K
	s := newSim(t, nil)
	id, other := s.boot("compute-1"), s.boot("compute-1")
	s.down("compute-1")
	s.accepted(id, "compute-2")
	s.pass(4 * time.Second)
	s.host("compute-2", HostChange{Compute: "stop"})
	s.accepted(other, "compute-2")
	s.is("stopping", s.cloud.State().Hosts[1].Compute, "stopping")
	s.pass(30 * time.Second)
	s.looks("finished", id, "ACTIVE active - compute-2", "done compute-2", "compute-2")
	s.is("stopped", s.cloud.State().Hosts[1].Compute, "stopped")
	s.looks("nothing more is taken", other, "REBUILD active rebuilding compute-1", "accepted compute-2", "")
	s.host("compute-2", HostChange{Compute: "start"})
	s.pass(time.Hour)
	s.looks("and what came meanwhile is lost", other, "REBUILD active rebuilding compute-1", "accepted compute-2", "")
	s.accepted(other, "compute-2")
	s.pass(time.Minute)
	s.looks("sent again", other, "ACTIVE active - compute-2", "done compute-2, accepted compute-2", "compute-2")
	s.is("breaches", s.breaches(), "")
}

func TestAChain(t *testing.T) { // M
	s := newSim(t, nil)
	id := s.boot("compute-1")
	for _, hop := range [][2]string{{"compute-1", "compute-2"}, {"compute-2", "compute-3"}} {
		s.down(hop[0])
		s.accepted(id, hop[1])
		s.pass(time.Minute)
	}
	for _, h := range []string{"compute-1", "compute-2"} {
		s.host(h, HostChange{Power: "on"})
		s.setForcedDown(h, false)
	}
	s.pass(firstBeat)
	s.down("compute-3")
	s.accepted(id, "compute-1")
	s.pass(time.Minute)
	s.host("compute-1", HostChange{Compute: "kill"})
	s.host("compute-1", HostChange{Compute: "start"})
	s.looks("end", id, "ACTIVE active - compute-1", "completed compute-2, completed compute-3, done compute-1", "compute-1")
	s.is("breaches", s.breaches(), "")
	if i := s.cloud.State().Instances[0]; strings.Join(i.RanOn, " ") != "compute-1 compute-2 compute-3 compute-1" || i.Accepted != 3 {
		t.Errorf("ran on %v, %d accepted", i.RanOn, i.Accepted)
	}
}

func TestARecordLeftBehindDestroysALiveGuest(t *testing.T) { // N
	s := newSim(t, nil)
	id := s.boot("compute-1")
	s.down("compute-1")
	s.accepted(id, "compute-2")
	s.pass(4 * time.Second)
	s.down("compute-2")
	s.accepted(id, "compute-3")
	s.pass(time.Minute)
	s.host("compute-1", HostChange{Power: "on"})
	s.setForcedDown("compute-1", false)
	s.is("only the newest record is completed", s.records(id), "pre-migrating compute-2, completed compute-3")
	s.pass(firstBeat)
	s.down("compute-3")
	s.accepted(id, "compute-1")
	s.pass(time.Minute)
	s.looks("back home", id, "ACTIVE active - compute-1", "pre-migrating compute-2, completed compute-3, done compute-1", "compute-1")
	s.is("no harm yet", s.breaches(), "")
	s.host("compute-1", HostChange{Compute: "kill"})
	s.host("compute-1", HostChange{Compute: "start"})
	s.looks("restarted", id, "ACTIVE active - compute-1", "completed compute-2, completed compute-3, done compute-1", "")
	s.is("breaches", s.breaches(), "lost")
}

func TestAHostThatBootsStartsTheGuestsThatWereNotSent(t *testing.T) {
	s := newSim(t, nil)
	resume := true
	s.host("compute-1", HostChange{ResumeGuests: &resume})
	gone, left := s.boot("compute-1"), s.boot("compute-1")
	s.down("compute-1")
	s.accepted(gone, "compute-2")
	s.pass(time.Minute)
	s.host("compute-1", HostChange{Power: "on"})
	s.looks("the one that has left", gone, "ACTIVE active - compute-2", "completed compute-2", "compute-2")
	s.looks("the other", left, "ACTIVE active - compute-1", "", "compute-1")
	s.is("no harm yet", s.breaches(), "")
	s.accepted(left, "compute-3")
	s.pass(time.Minute)
	s.looks("the other, sent now", left, "ACTIVE active - compute-3", "done compute-3", "compute-1 compute-3")
	s.is("breaches", s.breaches(), "source_alive split_brain")
	s.host("compute-1", HostChange{Compute: "kill"})
	s.host("compute-1", HostChange{Compute: "start"})
	s.looks("only its start ends the second guest", left, "ACTIVE active - compute-3", "completed compute-3", "compute-3")
}

func TestMessagesToADeadHostThatIsBelievedUp(t *testing.T) { // P
	s := newSim(t, nil)
	deleted, stopped := s.boot("compute-1"), s.boot("compute-1")
	s.host("compute-1", HostChange{Power: "off"})
	s.is("delete", said(s.cloud.Delete(deleted)), "ok")
	s.is("stop", said(s.cloud.Stop(stopped, "")), "ok")
	s.is("deleting", s.server(deleted), "ACTIVE active deleting compute-1")
	s.is("powering off", s.server(stopped), "ACTIVE active powering-off compute-1")
	s.setForcedDown("compute-1", true)
	s.accepted(deleted, "compute-2")
	s.accepted(stopped, "compute-2")
	s.pass(time.Minute)
	s.looks("resurrected", deleted, "ACTIVE active - compute-2", "done compute-2", "compute-2")
	s.looks("the stop is undone", stopped, "ACTIVE active - compute-2", "done compute-2", "compute-2")
	s.host("compute-1", HostChange{Power: "on"})
	s.looks("the source is back", deleted, "404", "", "compute-2")
	s.is("the other", s.server(stopped), "ACTIVE active - compute-2")
	if r := s.cloud.Report(); r.Orphans != 1 {
		t.Errorf("report: %+v", r)
	}
}

func TestAStopThatWaitedDoesNotReachAnotherHost(t *testing.T) {
	s := newSim(t, nil)
	id := s.boot("compute-1")
	stop := func() { s.is("stop", said(s.cloud.Stop(id, "")), "ok") }
	s.host("compute-1", HostChange{Power: "off"})
	stop()
	s.setForcedDown("compute-1", true)
	s.accepted(id, "compute-2")
	s.pass(time.Minute)
	s.host("compute-2", HostChange{Compute: "kill"})
	stop()
	s.host("compute-1", HostChange{Power: "on"})
	s.is("the old stop is nobody's", s.server(id), "ACTIVE active powering-off compute-2")
	s.host("compute-2", HostChange{Compute: "start"})
	s.is("the new one is taken", s.server(id), "SHUTOFF stopped - compute-2")
}

func TestADeleteOfADownHostIsLocal(t *testing.T) {
	s := newSim(t, nil)
	id := s.boot("compute-1")
	s.down("compute-1")
	s.is("delete", said(s.cloud.Delete(id)), "ok")
	s.is("gone", s.server(id), "404")
}

func TestAnyTaskStateIsEvacuated(t *testing.T) {
	for _, task := range []string{"powering-off", "rebooting", "deleting", "migrating", "rebuilding", "rebuild_spawning"} {
		t.Run(task, func(t *testing.T) {
			s := newSim(t, nil)
			id := s.boot("compute-1")
			s.down("compute-1")
			s.cloud.byID[id].taskState = task
			s.accepted(id, "")
			s.pass(time.Minute)
			s.looks("end", id, "ACTIVE active - compute-2", "done compute-2", "compute-2")
		})
	}
}

func TestTheSchedulerSpreads(t *testing.T) {
	s := newSim(t, func(c *Config) { c.Instances = []Batch{{Host: "compute-1", Count: 8}, {Host: "compute-2", Count: 2}} })
	s.down("compute-1")
	for _, i := range s.cloud.State().Instances[:8] {
		s.accepted(i.ID, "")
	}
	s.pass(time.Minute)
	if got := s.cloud.Report().OnHost; fmt.Sprint(got) != "map[compute-2:4 compute-3:3 compute-4:3]" {
		t.Errorf("on host: %v", got)
	}
}

func TestRebuildsWaitForASlot(t *testing.T) {
	s := newSim(t, func(c *Config) { c.RebuildLimit = 2; c.Instances = []Batch{{Host: "compute-1", Count: 5}} })
	s.down("compute-1")
	for _, i := range s.cloud.State().Instances {
		s.accepted(i.ID, "compute-2")
	}
	s.pass(5 * time.Second)
	if h := s.cloud.State().Hosts[1]; h.Rebuilding != 2 || h.Waiting != 3 {
		t.Errorf("%d at work, %d waiting", h.Rebuilding, h.Waiting)
	}
	s.pass(15 * time.Second)
	if r := s.cloud.Report(); r.Evacuated != 2 {
		t.Errorf("%d after one turn", r.Evacuated)
	}
	s.pass(time.Minute)
	if r := s.cloud.Report(); r.Evacuated != 5 {
		t.Errorf("%d in the end", r.Evacuated)
	}
}

func TestAHostThatHangs(t *testing.T) {
	s := newSim(t, nil)
	id := s.boot("compute-1")
	s.down("compute-1")
	s.host("compute-2", HostChange{Hang: new(true)})
	s.accepted(id, "compute-2")
	s.pass(time.Hour)
	s.is("hangs", s.server(id), "REBUILD active rebuild_spawning compute-1")
	s.host("compute-2", HostChange{Hang: new(false)})
	s.pass(2 * time.Second)
	s.is("goes on", s.server(id), "ACTIVE active - compute-2")
}

func TestWhatUsersDoBeforeTheHostDies(t *testing.T) {
	for _, c := range []struct {
		name, answer, end, guests string
		do                        func(c *Cloud, id string) error
	}{
		{"rescue", "ok", "RESCUE rescued - compute-1", "compute-1", func(c *Cloud, id string) error { return c.Rescue(id, "") }},
		{"pause", "ok", "PAUSED paused - compute-1", "compute-1", func(c *Cloud, id string) error { return c.Pause(id, "") }},
		{"suspend", "ok", "SUSPENDED suspended - compute-1", "compute-1", func(c *Cloud, id string) error { return c.Suspend(id, "") }},
		{"shelve", "ok", "SHELVED_OFFLOADED shelved_offloaded - -", "", func(c *Cloud, id string) error { return c.Shelve(id, "") }},
		{"migrate", "ok", "VERIFY_RESIZE resized - compute-2", "compute-2", func(c *Cloud, id string) error { return c.Migrate(id, "compute-2", "") }},
		{"migrate to the same host", "400 The target host can't be the same one.", "ACTIVE active - compute-1", "compute-1",
			func(c *Cloud, id string) error { return c.Migrate(id, "compute-1", "") }},
		{"migrate to no host", "400 Compute host nosuch could not be found.", "ACTIVE active - compute-1", "compute-1",
			func(c *Cloud, id string) error { return c.Migrate(id, "nosuch", "") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSim(t, nil)
			id := s.boot("compute-1")
			s.is("answer", said(c.do(s.cloud, id)), c.answer)
			s.looks("end", id, c.end, "", c.guests)
			s.is("breaches", s.breaches(), "")
		})
	}
}

func TestAllocations(t *testing.T) {
	s := newSim(t, nil)
	id := s.boot("compute-1")
	names := func() string {
		var all []string
		for _, service := range s.cloud.Allocations(id) {
			all = append(all, service.Host)
		}
		return strings.Join(all, " ")
	}
	s.is("at home", names(), "compute-1")
	s.down("compute-1")
	s.host("compute-2", HostChange{Fail: new("boom"), FailCount: 1})
	s.accepted(id, "compute-2")
	s.is("before the scheduler", names(), "compute-1")
	s.pass(time.Second)
	s.is("while it is rebuilt", names(), "compute-1 compute-2")
	s.pass(time.Minute)
	s.is("failed", names(), "compute-1")
	s.accepted(id, "compute-3")
	s.pass(time.Minute)
	s.is("the source keeps its own until it is back", names(), "compute-1 compute-3")
	s.host("compute-1", HostChange{Power: "on"})
	s.is("it is back", names(), "compute-3")
}

func TestTheSameSeedMakesTheSameCloud(t *testing.T) {
	run := func(seed uint64, questions int) string {
		s := newSim(t, func(c *Config) { c.Seed, c.Instances = seed, []Batch{{Host: "compute-1", Count: 20}} })
		for range questions {
			s.cloud.Services() // a question changes nothing
		}
		s.down("compute-1")
		for _, i := range s.cloud.State().Instances {
			s.accepted(i.ID, "")
		}
		s.pass(13500 * time.Millisecond)
		s.boot("compute-3")
		state, err := json.Marshal(s.cloud.State())
		if err != nil {
			t.Fatal(err)
		}
		return string(state)
	}
	if run(7, 0) != run(7, 5) {
		t.Error("two runs of one seed differ")
	}
	if run(7, 0) == run(8, 0) {
		t.Error("two seeds make the same")
	}
	if newSim(t, func(c *Config) { c.Seed = 7 }).boot("compute-1") == newSim(t, func(c *Config) { c.Seed = 8 }).boot("compute-1") {
		t.Error("two seeds make the same ids")
	}
}
