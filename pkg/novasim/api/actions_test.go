package api

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/pkg/novasim"
)

func TestActions(t *testing.T) {
	s := newSim(t, nil)
	id := s.boot("compute-1")
	s.down("compute-1")
	s.host("compute-2", novasim.HostChange{Fail: new("boom"), FailCount: 1})
	for range 2 {
		s.accepted(id, "compute-2")
		s.pass(time.Minute)
	}
	events := func(version string) string {
		s.version = version
		var all []string
		for _, a := range s.get("/v2.1/servers/" + id + "/os-instance-actions")["instanceActions"].([]any) {
			a := a.(map[string]any)
			action := s.get("/v2.1/servers/" + id + "/os-instance-actions/" + a["request_id"].(string))["instanceAction"].(map[string]any)
			for _, e := range action["events"].([]any) {
				e := e.(map[string]any)
				all = append(all, fmt.Sprint(action["action"], " ", action["message"], " ", e["event"], " ", e["result"], " ", e["host"], " ", e["details"]))
			}
		}
		return strings.Join(all, "\n")
	}
	s.is("newest first", events("2.84"), strings.Join([]string{
		"evacuate <nil> rebuild_server Success controller <nil>",
		"evacuate <nil> compute_rebuild_instance Success compute-2 <nil>",
		"evacuate Error rebuild_server Success controller <nil>",
		"evacuate Error compute_rebuild_instance Error compute-2 boom",
	}, "\n"))
	s.is("below 2.62", events("2.61"), strings.Join([]string{
		"evacuate <nil> rebuild_server Success <nil> <nil>",
		"evacuate <nil> compute_rebuild_instance Success <nil> <nil>",
		"evacuate Error rebuild_server Success <nil> <nil>",
		"evacuate Error compute_rebuild_instance Error <nil> <nil>",
	}, "\n"))
	s.is("an unknown one", said(s.do("GET", "/v2.1/servers/"+id+"/os-instance-actions/req-x", "")), "404 itemNotFound: Action req-x not found")
	s.is("delete", said(s.do("DELETE", "/v2.1/servers/"+id, "")), "204")
	for version, code := range map[string]string{"2.20": "404", "2.21": "200"} {
		s.version = version
		s.is("a deleted instance's at "+version, fmt.Sprint(s.do("GET", "/v2.1/servers/"+id+"/os-instance-actions", "").Code), code)
	}
}
