package api

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAMemberIsRefused(t *testing.T) {
	s := newSim(t, nil)
	id := s.boot("compute-1")
	s.down("compute-1")
	s.token = s.login(Member, "secret").Header().Get("X-Subject-Token")
	s.is("evacuate", s.evacuate(id, ""), "403 forbidden: Policy doesn't allow os_compute_api:os-evacuate to be performed.")
	s.is("services", said(s.do("GET", "/v2.1/os-services", "")), "403 forbidden: Policy doesn't allow os_compute_api:os-services to be performed.")
}

func TestMicroversions(t *testing.T) {
	s := newSim(t, nil)
	for asked, want := range map[string]string{
		"": "200 2.1", "2.1": "200 2.1", "2.53": "200 2.53", "2.93": "200 2.93", "latest": "200 2.93",
		"2.95": "406 computeFault: Version 2.95 is not supported by the API. Minimum is 2.1 and maximum is 2.93.",
		"2.0":  "406 computeFault: Version 2.0 is not supported by the API. Minimum is 2.1 and maximum is 2.93.",
		"two":  "400 badRequest: API Version String two is of invalid format. Must be of format MajorNum.MinorNum.",
	} {
		for _, header := range []string{"OpenStack-API-Version", "X-OpenStack-Nova-API-Version"} {
			r := httptest.NewRequest("GET", "http://cloud/v2.1/os-services", nil)
			r.Header.Set("X-Auth-Token", s.token)
			if asked != "" && header == "OpenStack-API-Version" {
				r.Header.Set(header, "compute "+asked)
			} else if asked != "" {
				r.Header.Set(header, asked)
			}
			w := httptest.NewRecorder()
			s.server.ServeHTTP(w, r)
			got := said(w)
			if w.Code == 200 {
				got = "200 " + w.Header().Get("X-OpenStack-Nova-API-Version")
				s.is("the other header", w.Header().Get("OpenStack-API-Version"), "compute "+w.Header().Get("X-OpenStack-Nova-API-Version"))
			}
			s.is(header+" "+asked, got, want)
			if !strings.HasPrefix(w.Header().Get("X-Openstack-Request-Id"), "req-") {
				t.Errorf("no request id: %v", w.Header())
			}
		}
	}
	version := s.get("/v2.1/")["version"].(map[string]any)
	s.is("version document", fmt.Sprint(version["min_version"], " ", version["version"]), "2.1 2.93")
	s.is("keystone's", s.get("/v3")["version"].(map[string]any)["id"].(string), "v3.14")
	s.is("placement's", fmt.Sprint(s.get("/placement/")["versions"].([]any)[0].(map[string]any)["max_version"]), "1.39")
}
