package novasim

import (
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
		{"an active instance arrives", "active", "200", onAny, "done compute-2"},
		{"an instance in error becomes active", "error", "200", onAny, "done compute-2"},
		{"a stopped instance stays stopped", "stopped", "200", "SHUTOFF stopped - compute-2", "done compute-2"},
		{"a paused one is refused", "paused", "409 conflictingRequest: Cannot 'evacuate' instance ID while it is in vm_state paused", "PAUSED paused - compute-1", ""},
		{"a suspended one is refused", "suspended", "409 conflictingRequest: Cannot 'evacuate' instance ID while it is in vm_state suspended", "SUSPENDED suspended - compute-1", ""},
		{"a rescued one is refused", "rescued", "409 conflictingRequest: Cannot 'evacuate' instance ID while it is in vm_state rescued", "RESCUE rescued - compute-1", ""},
		{"one that is being built is refused", "building", "409 conflictingRequest: Cannot 'evacuate' instance ID while it is in vm_state building", "BUILD building - compute-1", ""},
		{"a resized one is refused", "resized", "409 conflictingRequest: Cannot 'evacuate' instance ID while it is in vm_state resized", "VERIFY_RESIZE resized - compute-1", ""},
		{"a shelved one is refused", "shelved", "409 conflictingRequest: Cannot 'evacuate' instance ID while it is in vm_state shelved", "SHELVED shelved - compute-1", ""},
		{"a soft-deleted one is refused", "soft-delete", "409 conflictingRequest: Cannot 'evacuate' instance ID while it is in vm_state soft-delete", "SOFT_DELETED soft-delete - compute-1", ""},
		{"one without a host is refused for its host", "shelved_offloaded", "400 badRequest: The target host can't be the same one.", "SHELVED_OFFLOADED shelved_offloaded - <nil>", ""},
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

func TestEvacuateAnswers(t *testing.T) {
	inUse := "400 badRequest: Compute service of compute-1 is still in use."
	for _, c := range []struct {
		name, version, body, answer string
		prepare                     func(*sim)
	}{
		{"a host that is up is in use", "2.90", `{"evacuate":{}}`, inUse, func(*sim) {}},
		{"so is one that is dead but not yet down", "2.90", `{"evacuate":{}}`, inUse, func(s *sim) {
			s.host("compute-1", HostChange{Power: "off"})
			s.pass(59 * time.Second)
		}},
		{"a minute later it is down", "2.90", `{"evacuate":{}}`, "200", func(s *sim) {
			s.host("compute-1", HostChange{Power: "off"})
			s.pass(61 * time.Second)
		}},
		{"an unknown target is not found", "2.90", `{"evacuate":{"host":"nosuch"}}`, "404 itemNotFound: Compute host nosuch not found.", nil},
		{"the source is no target", "2.90", `{"evacuate":{"host":"compute-1"}}`, "400 badRequest: The target host can't be the same one.", nil},
		{"force is unexpected since 2.68", "2.68", `{"evacuate":{"host":"compute-2","force":true}}`,
			`400 badRequest: Invalid input for field/attribute evacuate. Value: {"host":"compute-2","force":true}. Additional properties are not allowed ('force' was unexpected)`, nil},
		{"force is accepted at 2.29", "2.29", `{"evacuate":{"host":"compute-2","force":true}}`, "200", nil},
		{"force needs a host", "2.29", `{"evacuate":{"force":true}}`, "400 badRequest: Can't force to a non-provided destination", nil},
		{"below 2.14 onSharedStorage is required", "2.13", `{"evacuate":{}}`,
			"400 badRequest: Invalid input for field/attribute evacuate. Value: {}. 'onSharedStorage' is a required property", nil},
		{"below 2.14 a password comes back", "2.13", `{"evacuate":{"onSharedStorage":false}}`, `200 {"adminPass":"simulated"}`, nil},
		{"a lock does not matter to an administrator", "2.90", `{"evacuate":{}}`, "200", func(s *sim) {
			s.do("POST", "/v2.1/servers/"+s.cloud.State().Instances[0].ID+"/action", `{"lock":null}`)
			s.down("compute-1")
		}},
		{"an unknown action is refused", "2.90", `{"evacute":{}}`, "400 badRequest: There is no such action: evacute", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSim(t, nil)
			id := s.boot("compute-1")
			if c.prepare == nil {
				s.down("compute-1")
			} else {
				c.prepare(s)
			}
			s.version = c.version
			s.is("answer", said(s.do("POST", "/v2.1/servers/"+id+"/action", c.body)), c.answer)
		})
	}
	s := newSim(t, nil)
	s.is("an unknown instance", s.evacuate("8d1c1b2e-4c1a-4a0f-8f0a-2d5f3f0e7a11", ""), "404 itemNotFound: Instance 8d1c1b2e-4c1a-4a0f-8f0a-2d5f3f0e7a11 could not be found.")
}

func TestTheNormalCourse(t *testing.T) {
	s := newSim(t, nil)
	id := s.boot("compute-1")
	s.down("compute-1")
	s.accepted(id, "")
	s.looks("at once", id, "REBUILD active rebuilding compute-1", "accepted ?", "")
	if m := s.get("/v2.1/os-migrations")["migrations"].([]any)[0].(map[string]any); m["updated_at"] != nil {
		t.Errorf("updated_at of an accepted record is %v", m["updated_at"])
	}
	s.pass(time.Second)
	s.looks("claimed", id, "REBUILD active rebuild_block_device_mapping compute-1", "pre-migrating compute-2", "")
	if m := s.get("/v2.1/os-migrations")["migrations"].([]any)[0].(map[string]any); m["updated_at"] == nil || m["dest_node"] != "compute-2" {
		t.Errorf("updated_at and dest_node of a claimed record are %v, %v", m["updated_at"], m["dest_node"])
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
				s.service(h, `{"status":"disabled"}`)
			}
		}},
		{"the target is disabled", "compute-2", func(s *sim) { s.service("compute-2", `{"status":"disabled"}`) }},
		{"the target is forced down", "compute-2", func(s *sim) { s.service("compute-2", `{"forced_down":true}`) }},
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
			s.service("compute-3", `{"status":"enabled"}`)
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
	if err := s.cloud.ChangeControllers(ControllerChange{Scheduler: "freeze"}); err != nil {
		t.Fatal(err)
	}
	s.accepted(id, "")
	s.pass(2 * time.Minute)
	if err := s.cloud.ChangeControllers(ControllerChange{Scheduler: "thaw"}); err != nil {
		t.Fatal(err)
	}
	for _, h := range []string{"compute-2", "compute-3", "compute-4"} {
		s.service(h, `{"status":"disabled"}`)
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
	s.service("compute-1", `{"forced_down":false}`) // up again before the scheduler looks
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
	for _, a := range s.get("/v2.1/servers/" + id + "/os-instance-actions")["instanceActions"].([]any) {
		a := a.(map[string]any)
		action := s.get("/v2.1/servers/" + id + "/os-instance-actions/" + a["request_id"].(string))["instanceAction"].(map[string]any)
		for _, e := range action["events"].([]any) {
			e := e.(map[string]any)
			events = append(events, fmt.Sprint(action["action"], " ", action["message"], " ", e["event"], " ", e["result"], " ", e["details"]))
		}
	}
	s.is("actions, newest first", strings.Join(events, "\n"), strings.Join([]string{
		"evacuate <nil> rebuild_server Success <nil>",
		"evacuate <nil> compute_rebuild_instance Success <nil>",
		"evacuate Error rebuild_server Success <nil>",
		"evacuate Error compute_rebuild_instance Error boom",
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
		s.service("compute-2", `{"forced_down":true}`)
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
	refused := "400 badRequest: Unable to force up host compute-1 as `done` evacuation migration records remain associated with the host. " +
		"Ensure the compute service has been restarted, allowing these records to move to `completed` before retrying this request."
	s.is("force-up", s.service("compute-1", `{"forced_down":false}`), refused)
	s.host("compute-1", HostChange{Compute: "kill"})
	s.host("compute-1", HostChange{Compute: "start"})
	if got := s.service("compute-1", `{"forced_down":false}`); !strings.HasPrefix(got, "200") {
		t.Errorf("after a second restart: %s", got)
	}
	s.is("breaches", s.breaches(), "")
}

func TestForcedDownIsCleared(t *testing.T) { // G
	s := newSim(t, nil)
	id := s.boot("compute-1")
	s.down("compute-1")
	s.is("forced down", s.serviceState("compute-1"), "down enabled true")
	if got := s.service("compute-1", `{"forced_down":false}`); !strings.HasPrefix(got, "200") {
		t.Fatalf("without done records: %s", got)
	}
	s.is("up, though dead", s.serviceState("compute-1"), "up enabled false")
	s.is("evacuate", s.evacuate(id, ""), "400 badRequest: Compute service of compute-1 is still in use.")
	s.pass(time.Minute + time.Second)
	s.is("found out", s.serviceState("compute-1"), "down enabled false")
	s.accepted(id, "")
	s.pass(time.Minute)
	if got := s.service("compute-1", `{"forced_down":false}`); !strings.HasPrefix(got, "400") {
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
	s.is("forced_down stays", s.serviceState("compute-1"), "down enabled true")
	s.is("who was not evacuated lies on disk", s.guests(stays), "")
	if r := s.cloud.Report(); r.Off != 1 || len(r.Breaches) > 0 {
		t.Errorf("report: %+v", r)
	}
	s.do("POST", "/v2.1/servers/"+stays+"/action", `{"os-stop":null}`)
	s.do("POST", "/v2.1/servers/"+stays+"/action", `{"os-start":null}`)
	s.is("and can be started", s.guests(stays), "compute-1")
}

func TestAFrozenConductor(t *testing.T) { // H
	s := newSim(t, nil)
	id := s.boot("compute-1")
	s.down("compute-1")
	if err := s.cloud.ChangeControllers(ControllerChange{Conductor: "freeze"}); err != nil {
		t.Fatal(err)
	}
	s.accepted(id, "compute-2")
	s.pass(time.Hour)
	s.looks("frozen", id, "REBUILD active rebuilding compute-1", "accepted compute-2", "")
	s.accepted(id, "compute-2")
	s.pass(time.Hour)
	if err := s.cloud.ChangeControllers(ControllerChange{Conductor: "thaw"}); err != nil {
		t.Fatal(err)
	}
	s.pass(time.Hour)
	s.looks("back", id, "ERROR error - compute-2", "done compute-2, failed compute-2", "compute-2")
	s.is("fault", s.fault(id), "Instance vm-1 already exists.")
	s.is("breaches", s.breaches(), "double_send")
}

func TestAFrozenScheduler(t *testing.T) { // I
	s := newSim(t, nil)
	id := s.boot("compute-1")
	s.down("compute-1")
	if err := s.cloud.ChangeControllers(ControllerChange{Scheduler: "freeze"}); err != nil {
		t.Fatal(err)
	}
	s.accepted(id, "")
	s.pass(time.Hour)
	if err := s.cloud.ChangeControllers(ControllerChange{Scheduler: "thaw"}); err != nil {
		t.Fatal(err)
	}
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
	s.is("delete", said(s.do("DELETE", "/v2.1/servers/"+id, "")), "204")
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
		s.service(h, `{"forced_down":false}`)
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
	s.service("compute-1", `{"forced_down":false}`)
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
	s.is("delete", said(s.do("DELETE", "/v2.1/servers/"+deleted, "")), "204")
	s.is("stop", said(s.do("POST", "/v2.1/servers/"+stopped+"/action", `{"os-stop":null}`)), "202")
	s.is("deleting", s.server(deleted), "ACTIVE active deleting compute-1")
	s.is("powering off", s.server(stopped), "ACTIVE active powering-off compute-1")
	s.service("compute-1", `{"forced_down":true}`)
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
	stop := func() { s.is("stop", said(s.do("POST", "/v2.1/servers/"+id+"/action", `{"os-stop":null}`)), "202") }
	s.host("compute-1", HostChange{Power: "off"})
	stop()
	s.service("compute-1", `{"forced_down":true}`)
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
	s.is("delete", said(s.do("DELETE", "/v2.1/servers/"+id, "")), "204")
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

func TestAllocations(t *testing.T) {
	s := newSim(t, nil)
	id := s.boot("compute-1")
	names := func() string {
		var all []string
		allocations := s.get("/placement/allocations/" + id)["allocations"].(map[string]any)
		for _, h := range s.get("/v2.1/os-hypervisors/detail")["hypervisors"].([]any) {
			h := h.(map[string]any)
			if allocations[h["id"].(string)] != nil {
				all = append(all, h["hypervisor_hostname"].(string))
				provider := s.get("/placement/resource_providers/" + h["id"].(string))
				hypervisor := s.get("/v2.1/os-hypervisors/" + h["id"].(string))["hypervisor"].(map[string]any)
				s.is("provider", fmt.Sprint(provider["name"], provider["root_provider_uuid"]), fmt.Sprint(hypervisor["hypervisor_hostname"], h["id"]))
			}
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
	for _, c := range []struct{ action, answer, end, guests string }{
		{`{"rescue":{}}`, `200 {"adminPass":"simulated"}`, "RESCUE rescued - compute-1", "compute-1"},
		{`{"shelve":null}`, "202", "SHELVED_OFFLOADED shelved_offloaded - <nil>", ""},
		{`{"migrate":{"host":"compute-2"}}`, "202", "VERIFY_RESIZE resized - compute-2", "compute-2"},
		{`{"migrate":{"host":"compute-1"}}`, "400 badRequest: The target host can't be the same one.", "ACTIVE active - compute-1", "compute-1"},
		{`{"migrate":{"host":"nosuch"}}`, "400 badRequest: Compute host nosuch could not be found.", "ACTIVE active - compute-1", "compute-1"},
	} {
		t.Run(c.action, func(t *testing.T) {
			s := newSim(t, nil)
			id := s.boot("compute-1")
			s.is("answer", said(s.do("POST", "/v2.1/servers/"+id+"/action", c.action)), c.answer)
			s.looks("end", id, c.end, "", c.guests)
			s.is("breaches", s.breaches(), "")
		})
	}
}

func TestAHypervisorThatIsDeadAndBelievedUp(t *testing.T) {
	s := newSim(t, nil)
	id := s.cloud.host("compute-1").hypervisor
	ask := func(version string) string {
		s.version = version
		got := said(s.do("GET", "/v2.1/os-hypervisors/"+id, ""))
		return got[:3]
	}
	s.is("alive", ask("2.88"), "200")
	s.host("compute-1", HostChange{Power: "off"})
	s.is("from 2.88 on its uptime is asked for", ask("2.88"), "500")
	s.is("below it is not", ask("2.87"), "200")
	s.service("compute-1", `{"forced_down":true}`)
	s.is("and not that of a host that is down", ask("2.88"), "200")
}
