package api

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/pkg/novasim"
)

func TestServices(t *testing.T) {
	s := newSim(t, nil)
	list := s.get("/v2.1/os-services")["services"].([]any)
	s.is("all services", fmt.Sprint(len(list)), "6")
	list = s.get("/v2.1/os-services?binary=nova-compute")["services"].([]any)
	s.is("nova-computes", fmt.Sprint(len(list)), "4")
	service := list[0].(map[string]any)
	id := service["id"].(string)
	s.is("one", fmt.Sprint(service["host"], " ", service["binary"], " ", service["zone"], " ", service["disabled_reason"]), "compute-1 nova-compute nova <nil>")
	put := func(id, body string) string { return said(s.do("PUT", "/v2.1/os-services/"+id, body)) }

	s.host("compute-1", novasim.HostChange{Power: "off"})
	s.pass(time.Hour)
	before := s.get("/v2.1/os-services?host=compute-1")["services"].([]any)[0].(map[string]any)["updated_at"]
	s.is("dead: its last heartbeat", before.(string), "2026-03-01T03:00:00.000000")
	if got := put(id, `{"status":"disabled","disabled_reason":"nova-evac gen=1","forced_down":true}`); !strings.HasPrefix(got, "200") {
		t.Fatal(got)
	}
	after := s.get("/v2.1/os-services?host=compute-1")["services"].([]any)[0].(map[string]any)
	s.is("one PUT sets all", fmt.Sprint(after["state"], after["status"], after["forced_down"], after["disabled_reason"]), "downdisabledtruenova-evac gen=1")
	s.is("and moves updated_at", after["updated_at"].(string), "2026-03-01T04:00:00.000000")

	s.is("an unknown uuid", put("8d1c1b2e-4c1a-4a0f-8f0a-2d5f3f0e7a11", `{"status":"enabled"}`),
		"404 itemNotFound: Service 8d1c1b2e-4c1a-4a0f-8f0a-2d5f3f0e7a11 could not be found.")
	s.is("no uuid", put("force-down", `{"host":"compute-1","binary":"nova-compute","forced_down":true}`), "400 badRequest: Invalid uuid force-down")
	s.is("an empty body", put(id, `{}`), "400 badRequest: No updates were requested. Fields 'status' or 'forced_down' should be specified.")
	s.is("a reason alone", put(id, `{"disabled_reason":"x"}`), "400 badRequest: No updates were requested. Fields 'status' or 'forced_down' should be specified.")
	s.is("an unknown field", put(id, `{"state":"up"}`), "400 badRequest: Additional properties are not allowed ('state' was unexpected)")
	s.is("enabled with a reason", put(id, `{"status":"enabled","disabled_reason":"x"}`), "400 badRequest: Specifying 'disabled_reason' with status 'enabled' is invalid.")
	s.is("the conductor", put(controllers[0].id, `{"status":"disabled"}`),
		"400 badRequest: Updating a nova-conductor service is not supported. Only nova-compute services can be updated.")
	put(id, `{"status":"enabled"}`)
	s.is("enabled: the reason goes, forced_down stays", s.serviceState("compute-1"), "down enabled true")

	s.version = "2.11"
	old := func(action, body string) string {
		return said(s.do("PUT", "/v2.1/os-services/"+action, `{"host":"compute-2","binary":"nova-compute"`+body+`}`))
	}
	s.is("2.11 force-down", old("force-down", `,"forced_down":true`), `200 {"service":{"binary":"nova-compute","forced_down":true,"host":"compute-2"}}`)
	s.is("2.11 disable-log-reason", old("disable-log-reason", `,"disabled_reason":"x"`),
		`200 {"service":{"binary":"nova-compute","disabled_reason":"x","host":"compute-2","status":"disabled"}}`)
	s.is("then", s.serviceState("compute-2"), "down disabled true")
	s.is("2.11 enable", old("enable", ""), `200 {"service":{"binary":"nova-compute","host":"compute-2","status":"enabled"}}`)
	s.is("2.11 forced_down without a value", old("force-down", ""), "400 badRequest: Missing forced_down field")
	s.is("2.11 unknown action", old("nosuch", ""), "404 itemNotFound: Unknown action")
	s.version = "2.10"
	s.is("2.10 has no force-down", old("force-down", `,"forced_down":true`), "404 itemNotFound: Unknown action")
	if service := s.get("/v2.1/os-services?host=compute-1")["services"].([]any)[0].(map[string]any); service["forced_down"] != nil || service["id"] != 1.0 {
		t.Errorf("at 2.10: %v", service)
	}
}
