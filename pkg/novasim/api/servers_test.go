package api

import (
	"fmt"
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/pkg/novasim"
)

func TestServersArePaged(t *testing.T) {
	s := newSim(t, func(cloud *novasim.Config, c *Config) {
		c.PageLimit, cloud.Instances = 4, []novasim.Batch{{Host: "compute-1", Count: 8}, {Host: "compute-2", Count: 3}}
	})
	for path, want := range map[string]string{
		"/v2.1/servers/detail?all_tenants=1&host=compute-1":         "[4 4 0]", // a full page has a link, whatever follows
		"/v2.1/servers/detail?all_tenants=1&host=compute-1&limit=3": "[3 3 2]",
		"/v2.1/servers/detail?all_tenants=1&host=compute-1&limit=9": "[4 4 0]", // max_limit
		"/v2.1/servers/detail?all_tenants=1&host=compute-1&limit=0": "[4 4 0]",
		"/v2.1/servers/detail?all_tenants=1&host=compute-2":         "[3]",
		"/v2.1/servers/detail?all_tenants=1":                        "[4 4 3]",
		"/v2.1/servers/detail?all_tenants=1&host=nosuch":            "[0]",
		"/v2.1/servers/detail?all_tenants=1&status=ERROR":           "[0]",
		"/v2.1/servers/detail?all_tenants=1&status=active":          "[4 4 3]",
		"/v2.1/servers/detail?host=compute-1":                       "[0]", // the administrator's own project
	} {
		sizes, ids := follow(s, path, "servers", "id")
		s.is(path, fmt.Sprint(sizes), want)
		seen := map[string]bool{}
		for _, id := range ids {
			if seen[id] {
				t.Errorf("%s: %s comes twice", path, id)
			}
			seen[id] = true
		}
	}
	s.is("a bad marker", said(s.do("GET", "/v2.1/servers/detail?all_tenants=1&marker=nosuch", "")), "400 badRequest: marker [nosuch] not found")
	s.is("a bad limit", fmt.Sprint(s.do("GET", "/v2.1/servers/detail?all_tenants=1&limit=x", "").Code), "400")
	s.is("an unknown key", said(s.do("GET", "/v2.1/servers/detail?nosuch=1", "")), "400 badRequest: Additional properties are not allowed ('nosuch' was unexpected)")
	s.version = "2.74"
	s.is("an unknown key below 2.75", fmt.Sprint(s.do("GET", "/v2.1/servers/detail?nosuch=1", "").Code), "200")
}

func TestServerBodies(t *testing.T) {
	s := newSim(t, nil)
	id := s.boot("compute-1")
	has := func(version, key string) any {
		s.version = version
		return s.get("/v2.1/servers/" + id)["server"].(map[string]any)[key]
	}
	for _, c := range []struct{ version, key, want string }{
		{"2.8", "locked", "<nil>"}, {"2.9", "locked", "false"},
		{"2.15", "host_status", "<nil>"}, {"2.16", "host_status", "UP"},
		{"2.46", "flavor", "map[id:1 links:[map[href:http://cloud/flavors/1 rel:bookmark]]]"},
		{"2.53", "flavor", "map[disk:1 ephemeral:0 extra_specs:map[] original_name:m1.tiny ram:512 swap:0 vcpus:1]"},
		{"2.93", "created", "2026-03-01T03:00:00Z"}, {"2.93", "OS-EXT-STS:power_state", "1"}, {"2.93", "tenant_id", tenant},
	} {
		s.is(c.version+" "+c.key, fmt.Sprint(has(c.version, c.key)), c.want)
	}
	s.version = "2.93"
	s.down("compute-1")
	s.is("host_status of a dead host", fmt.Sprint(has("2.93", "host_status")), "DOWN")
	s.is("power_state on a dead host", fmt.Sprint(has("2.93", "OS-EXT-STS:power_state")), "1")
}

func TestStopStartAndResetState(t *testing.T) {
	s := newSim(t, nil)
	id := s.boot("compute-1")
	act := func(body string) string { return said(s.do("POST", "/v2.1/servers/"+id+"/action", body)) }
	s.is("start an active one", act(`{"os-start":null}`), "409 conflictingRequest: Cannot 'start' instance "+id+" while it is in vm_state active")
	s.is("stop", act(`{"os-stop":null}`), "202")
	s.is("stopped", s.show(id), "SHUTOFF stopped - compute-1")
	s.is("start", act(`{"os-start":null}`), "202")
	s.is("started", s.show(id), "ACTIVE active - compute-1")
	s.down("compute-1")
	s.accepted(id, "compute-2")
	s.is("stop in flight", act(`{"os-stop":null}`), "409 conflictingRequest: Cannot 'stop' instance "+id+" while it is in task_state rebuilding")
	s.is("reset to nonsense", act(`{"os-resetState":{"state":"paused"}}`), "400 badRequest: Invalid input for field/attribute state. Value: paused. 'paused' is not one of ['active', 'error']")
	s.is("reset", act(`{"os-resetState":{"state":"error"}}`), "202")
	s.is("after reset", s.show(id), "ERROR error - compute-1")
	s.pass(time.Minute)
	s.looks("the rebuild finds its task gone", id, "REBUILD error rebuilding compute-1", "failed compute-2", "")
}

func TestEvacuateAnswers(t *testing.T) {
	inUse := "400 badRequest: Compute service of compute-1 is still in use."
	for _, c := range []struct {
		name, version, body, answer string
		prepare                     func(*sim)
	}{
		{"a host that is up is in use", "2.90", `{"evacuate":{}}`, inUse, func(*sim) {}},
		{"so is one that is dead but not yet down", "2.90", `{"evacuate":{}}`, inUse, func(s *sim) {
			s.host("compute-1", novasim.HostChange{Power: "off"})
			s.pass(59 * time.Second)
		}},
		{"a minute later it is down", "2.90", `{"evacuate":{}}`, "200", func(s *sim) {
			s.host("compute-1", novasim.HostChange{Power: "off"})
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

func TestActionsOfUsers(t *testing.T) {
	for _, c := range []struct{ action, answer, end string }{
		{`{"rescue":{}}`, `200 {"adminPass":"simulated"}`, "RESCUE rescued - compute-1"},
		{`{"shelve":null}`, "202", "SHELVED_OFFLOADED shelved_offloaded - <nil>"},
		{`{"migrate":{"host":"compute-2"}}`, "202", "VERIFY_RESIZE resized - compute-2"},
		{`{"migrate":{"host":"compute-1"}}`, "400 badRequest: The target host can't be the same one.", "ACTIVE active - compute-1"},
		{`{"migrate":{"host":"nosuch"}}`, "400 badRequest: Compute host nosuch could not be found.", "ACTIVE active - compute-1"},
	} {
		t.Run(c.action, func(t *testing.T) {
			s := newSim(t, nil)
			id := s.boot("compute-1")
			s.is("answer", said(s.do("POST", "/v2.1/servers/"+id+"/action", c.action)), c.answer)
			s.is("end", s.show(id), c.end)
		})
	}
}
