package novasim

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestTokens(t *testing.T) {
	s := newSim(t, func(c *Config) { c.TokenLifetime = time.Hour })
	works := func() int { return s.do("GET", "/v2.1/os-services", "").Code }

	w := s.login("admin", "wrong")
	s.is("a wrong password", said(w), "401 error: The request you have made requires authentication.")
	s.is("an unknown user", fmt.Sprint(s.login("nobody", "secret").Code), "401")
	s.is("junk", fmt.Sprint(s.do("POST", "/v3/auth/tokens", "{").Code), "400")
	s.is("another project", fmt.Sprint(s.do("POST", "/v3/auth/tokens", `{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"admin",
		"domain":{"id":"default"},"password":"secret"}}},"scope":{"project":{"name":"other","domain":{"id":"default"}}}}}`).Code), "401")
	s.is("another domain", fmt.Sprint(s.do("POST", "/v3/auth/tokens", `{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"admin",
		"domain":{"id":"other"},"password":"secret"}}}}}`).Code), "401")

	s.is("a fresh token", fmt.Sprint(works()), "200")
	s.pass(59 * time.Minute)
	s.is("a token before its end", fmt.Sprint(works()), "200")
	s.pass(time.Minute)
	expired := s.do("GET", "/v2.1/os-services", "")
	s.is("an expired token", said(expired), "401 error: The request you have made requires authentication.")
	s.is("its header", expired.Header().Get("WWW-Authenticate"), `Keystone uri="http://cloud/v3"`)

	s.token = s.login("admin", "secret").Header().Get("X-Subject-Token")
	s.is("a new token", fmt.Sprint(works()), "200")
	s.cloud.RevokeTokens()
	s.is("a revoked token", fmt.Sprint(works()), "401")
	s.token = "junk"
	s.is("a junk token", fmt.Sprint(works()), "401")
	s.is("placement asks, too", fmt.Sprint(s.do("GET", "/placement/allocations/x", "").Code), "401")

	w = s.do("POST", "/v3/auth/tokens", `{"auth":{"identity":{"methods":["application_credential"],"application_credential":{"id":"novasim","secret":"secret"}}}}`)
	s.token = w.Header().Get("X-Subject-Token")
	s.is("an application credential", fmt.Sprint(w.Code, works()), "201 200")
	w = s.do("POST", "/v3/auth/tokens", `{"auth":{"identity":{"methods":["application_credential"],"application_credential":{"id":"novasim","secret":"wrong"}}}}`)
	s.is("a wrong one", fmt.Sprint(w.Code), "401")
}

func TestTheTokenSaysWhenItExpiresAndWhereToGo(t *testing.T) {
	for _, c := range []struct{ publicURL, want string }{{"", "http://cloud"}, {"https://api.example.org/", "https://api.example.org"}} {
		s := newSim(t, func(cfg *Config) { cfg.PublicURL, cfg.TokenLifetime = c.publicURL, time.Hour })
		var body struct {
			Token struct {
				ExpiresAt time.Time `json:"expires_at"`
				Catalog   []struct {
					Type      string
					Endpoints []struct{ Interface, Region, URL string }
				}
			}
		}
		if err := json.Unmarshal(s.login("admin", "secret").Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		if !body.Token.ExpiresAt.Equal(s.now.Add(time.Hour)) {
			t.Errorf("expires_at %v", body.Token.ExpiresAt)
		}
		var all []string
		for _, service := range body.Token.Catalog {
			for _, e := range service.Endpoints {
				all = append(all, strings.Join([]string{service.Type, e.Interface, e.Region, e.URL}, " "))
			}
		}
		var want []string
		for _, service := range []string{"identity /v3", "compute /v2.1", "placement /placement"} {
			kind, path, _ := strings.Cut(service, " ")
			for _, i := range []string{"public", "internal", "admin"} {
				want = append(want, kind+" "+i+" RegionOne "+c.want+path)
			}
		}
		s.is("catalogue", strings.Join(all, "\n"), strings.Join(want, "\n"))
	}
}

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
			s.handler.ServeHTTP(w, r)
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

	s.host("compute-1", HostChange{Power: "off"})
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

// follow reads all pages of a list and gives the number of entries of each.
func follow(s *sim, path, list, id string) (sizes []int, ids []string) {
	s.t.Helper()
	for path != "" {
		body := s.get(path)
		sizes = append(sizes, len(body[list].([]any)))
		for _, e := range body[list].([]any) {
			ids = append(ids, e.(map[string]any)[id].(string))
		}
		path = ""
		if links, is := body[list+"_links"].([]any); is {
			link := links[0].(map[string]any)
			next, err := url.Parse(link["href"].(string))
			if err != nil || link["rel"] != "next" || next.Host != "cloud" {
				s.t.Fatalf("link %v: %v", link, err)
			}
			path = next.RequestURI()
		}
		if len(sizes) > 20 {
			s.t.Fatal("pages without end")
		}
	}
	return sizes, ids
}

func TestServersArePaged(t *testing.T) {
	s := newSim(t, func(c *Config) {
		c.PageLimit, c.Instances = 4, []Batch{{Host: "compute-1", Count: 8}, {Host: "compute-2", Count: 3}}
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

func TestMigrations(t *testing.T) {
	s := newSim(t, nil)
	var ids []string
	for range 3 {
		ids = append(ids, s.boot("compute-1"))
	}
	s.down("compute-1")
	for _, id := range ids {
		s.accepted(id, "compute-2")
		s.pass(time.Second)
	}
	s.pass(time.Minute)
	s.down("compute-2")
	s.accepted(ids[0], "compute-3")

	order := func(path string) string {
		var all []string
		for _, m := range s.get(path)["migrations"].([]any) {
			all = append(all, fmt.Sprint(m.(map[string]any)["id"]))
		}
		return strings.Join(all, " ")
	}
	for path, want := range map[string]string{
		"":                                    "4 3 2 1", // newest first
		"?host=compute-1":                     "3 2 1",
		"?host=compute-2":                     "4 3 2 1", // source or destination
		"?host=compute-3":                     "4",
		"?source_compute=compute-2":           "4",
		"?status=done":                        "3 2 1",
		"?status=accepted":                    "4",
		"?instance_uuid=" + ids[0]:            "4 1",
		"?migration_type=evacuation":          "4 3 2 1",
		"?migration_type=live-migration":      "",
		"?host=nosuch":                        "",
		"?changes-since=2026-03-01T03:00:00Z": "3 2 1", // hides records that are still accepted
	} {
		s.is(path, order("/v2.1/os-migrations"+path), want)
	}
	sizes, _ := follow(s, "/v2.1/os-migrations?host=compute-2&limit=2", "migrations", "uuid")
	s.is("pages", fmt.Sprint(sizes), "[2 2 0]")
	s.is("a bad marker", said(s.do("GET", "/v2.1/os-migrations?marker=nosuch", "")), "400 badRequest: Marker nosuch could not be found.")
	s.is("an unknown key", said(s.do("GET", "/v2.1/os-migrations?dest_compute=x", "")), "400 badRequest: Additional properties are not allowed ('dest_compute' was unexpected)")

	for _, c := range []struct{ version, key, want string }{
		{"2.22", "migration_type", "<nil>"}, {"2.23", "migration_type", "evacuation"}, {"2.58", "uuid", "<nil>"}, {"2.79", "user_id", "<nil>"}, {"2.80", "user_id", "u-admin"},
	} {
		s.version = c.version
		s.is(c.version+" "+c.key, fmt.Sprint(s.get("/v2.1/os-migrations")["migrations"].([]any)[0].(map[string]any)[c.key]), c.want)
	}
	s.version = "2.58"
	s.is("2.58: oldest first, and no 400", order("/v2.1/os-migrations?nosuch=1"), "1 2 3 4")
}

func TestHypervisors(t *testing.T) {
	s := newSim(t, nil)
	s.service("compute-1", `{"status":"disabled","disabled_reason":"why","forced_down":true}`)
	h := s.get("/v2.1/os-hypervisors/detail?hypervisor_hostname_pattern=compute-1")["hypervisors"].([]any)[0].(map[string]any)
	service := h["service"].(map[string]any)
	s.is("one", fmt.Sprint(h["hypervisor_hostname"], h["state"], h["status"], service["host"], service["disabled_reason"]), "compute-1downdisabledcompute-1why")
	if !uuidLike.MatchString(h["id"].(string)) {
		t.Errorf("id %v", h["id"])
	}
	s.is("short list", fmt.Sprint(len(s.get("/v2.1/os-hypervisors")["hypervisors"].([]any))), "4")
	s.is("none", said(s.do("GET", "/v2.1/os-hypervisors/detail?hypervisor_hostname_pattern=x", "")), "404 itemNotFound: No hypervisor matching 'x' could be found.")
}

func TestStopStartAndResetState(t *testing.T) {
	s := newSim(t, nil)
	id := s.boot("compute-1")
	act := func(body string) string { return said(s.do("POST", "/v2.1/servers/"+id+"/action", body)) }
	s.is("start an active one", act(`{"os-start":null}`), "409 conflictingRequest: Cannot 'start' instance "+id+" while it is in vm_state active")
	s.is("stop", act(`{"os-stop":null}`), "202")
	s.is("stopped", s.server(id), "SHUTOFF stopped - compute-1")
	s.is("start", act(`{"os-start":null}`), "202")
	s.is("started", s.server(id), "ACTIVE active - compute-1")
	s.down("compute-1")
	s.accepted(id, "compute-2")
	s.is("stop in flight", act(`{"os-stop":null}`), "409 conflictingRequest: Cannot 'stop' instance "+id+" while it is in task_state rebuilding")
	s.is("reset to nonsense", act(`{"os-resetState":{"state":"paused"}}`), "400 badRequest: Invalid input for field/attribute state. Value: paused. 'paused' is not one of ['active', 'error']")
	s.is("reset", act(`{"os-resetState":{"state":"error"}}`), "202")
	s.is("after reset", s.server(id), "ERROR error - compute-1")
	s.pass(time.Minute)
	s.looks("the rebuild finds its task gone", id, "REBUILD error rebuilding compute-1", "failed compute-2", "")
}

func TestReset(t *testing.T) {
	s := newSim(t, func(c *Config) { c.Instances = []Batch{{Host: "compute-1", Count: 3}} })
	ids := func() (all []string) {
		for _, i := range s.cloud.State().Instances {
			all = append(all, i.ID)
		}
		return all
	}
	before := ids()
	s.boot("compute-2")
	s.down("compute-1")
	s.accepted(before[0], "")
	if _, err := s.cloud.AddFault(Fault{Status: 503}); err != nil {
		t.Fatal(err)
	}
	s.cloud.Reset()
	s.is("instances", fmt.Sprint(ids()), fmt.Sprint(before))
	s.is("the token is gone, the fault is gone", fmt.Sprint(s.do("GET", "/v2.1/os-services", "").Code), "401")
	if r := s.cloud.Requests(); len(r.Evacuations) != 0 || s.cloud.Report().Running != 3 {
		t.Errorf("not fresh: %+v", r)
	}
	s.pass(time.Hour)
	if r := s.cloud.Report(); r.Running != 3 || r.Evacuated != 0 {
		t.Errorf("something of before the reset went on: %+v", r)
	}
}

func TestTheSameSeedMakesTheSameCloud(t *testing.T) {
	run := func(seed uint64, requests int) string {
		s := newSim(t, func(c *Config) { c.Seed, c.Instances = seed, []Batch{{Host: "compute-1", Count: 20}} })
		for range requests {
			s.get("/v2.1/os-services") // a question changes nothing
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
