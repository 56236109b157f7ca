package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nova-evac/nova-evac/pkg/novasim"
)

// sim is a cloud under a clock of the test's, spoken to through its HTTP surface. A second
// after it was accepted an evacuation is at its destination, and fifteen later it is over.
type sim struct {
	t       *testing.T
	cloud   *novasim.Cloud
	server  *Server
	now     time.Time
	token   string
	version string
}

func newSim(t *testing.T, change func(*novasim.Config, *Config)) *sim {
	s := &sim{t: t, now: time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC), version: "2.90"}
	cloud := novasim.Config{Hosts: []string{"compute-1", "compute-2", "compute-3", "compute-4"}, ScheduleTime: time.Second, SettleTime: time.Second,
		RebuildTime: 10 * time.Second, Now: func() time.Time { return s.now }}
	cfg := Config{TokenLifetime: 1000 * time.Hour}
	if change != nil {
		change(&cloud, &cfg)
	}
	s.cloud = novasim.New(cloud)
	s.server = New(s.cloud, cfg)
	s.token = s.login("admin", "secret").Header().Get("X-Subject-Token")
	return s
}

func (s *sim) login(user, password string) *httptest.ResponseRecorder {
	return s.do("POST", "/v3/auth/tokens", fmt.Sprintf(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":%q,
		"domain":{"name":"Default"},"password":%q}}},"scope":{"project":{"name":"admin","domain":{"id":"default"}}}}}`, user, password))
}

// do sends a request at the sim's microversion.
func (s *sim) do(method, path, body string) *httptest.ResponseRecorder {
	s.t.Helper()
	r := httptest.NewRequest(method, "http://cloud"+path, strings.NewReader(body))
	r.Header.Set("X-Auth-Token", s.token)
	if s.version != "" {
		r.Header.Set("OpenStack-API-Version", "compute "+s.version)
	}
	w := httptest.NewRecorder()
	s.server.ServeHTTP(w, r)
	return w
}

// get sends a GET that must succeed, and decodes the answer.
func (s *sim) get(path string) (body map[string]any) {
	s.t.Helper()
	w := s.do("GET", path, "")
	if w.Code != 200 {
		s.t.Fatalf("GET %s: %d %s", path, w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		s.t.Fatal(err)
	}
	return body
}

// said gives an answer in a line: the code, the name of the error and its message.
func said(w *httptest.ResponseRecorder) string {
	var body map[string]struct {
		Code    int
		Message string
	}
	if w.Code >= 300 && json.Unmarshal(w.Body.Bytes(), &body) == nil {
		for name, e := range body {
			if e.Code != w.Code {
				return fmt.Sprintf("%d but %d in the body", w.Code, e.Code)
			}
			return fmt.Sprintf("%d %s: %s", w.Code, name, e.Message)
		}
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", w.Code, bytes.TrimSpace(w.Body.Bytes())))
}

func (s *sim) pass(d time.Duration) { s.now = s.now.Add(d) }

func (s *sim) boot(host string) string {
	s.t.Helper()
	return s.bootAs(host, "active")
}

func (s *sim) bootAs(host, vmState string) string {
	s.t.Helper()
	ids, err := s.cloud.AddInstances(novasim.Batch{Host: host, VMState: vmState})
	if err != nil {
		s.t.Fatal(err)
	}
	return ids[0]
}

func (s *sim) host(name string, change novasim.HostChange) {
	s.t.Helper()
	if err := s.cloud.ChangeHost(name, change); err != nil {
		s.t.Fatal(err)
	}
}

// service changes a service through the API.
func (s *sim) service(name, body string) string {
	s.t.Helper()
	services := s.get("/v2.1/os-services?binary=nova-compute&host=" + name)["services"].([]any)
	if len(services) != 1 {
		s.t.Fatalf("%d services of %s", len(services), name)
	}
	return said(s.do("PUT", "/v2.1/os-services/"+services[0].(map[string]any)["id"].(string), body))
}

// state is a service as a list shows it.
func (s *sim) serviceState(name string) string {
	service := s.get("/v2.1/os-services?host=" + name)["services"].([]any)[0].(map[string]any)
	return fmt.Sprint(service["state"], " ", service["status"], " ", service["forced_down"])
}

// down kills a host and forces it down, as fencing does.
func (s *sim) down(name string) {
	s.t.Helper()
	s.host(name, novasim.HostChange{Power: "off"})
	if got := s.service(name, `{"forced_down":true}`); !strings.HasPrefix(got, "200") {
		s.t.Fatal(got)
	}
}

// evacuate sends an evacuation, to any host if target is "".
func (s *sim) evacuate(id, target string) string {
	s.t.Helper()
	body := `{"evacuate":{}}`
	if target != "" {
		body = `{"evacuate":{"host":"` + target + `"}}`
	}
	return said(s.do("POST", "/v2.1/servers/"+id+"/action", body))
}

// accepted is evacuate that must be.
func (s *sim) accepted(id, target string) {
	s.t.Helper()
	if got := s.evacuate(id, target); got != "200" {
		s.t.Fatalf("evacuate to %q: %s", target, got)
	}
}

// server is an instance as the API shows it: status, vm_state, task, host.
func (s *sim) show(id string) string {
	s.t.Helper()
	w := s.do("GET", "/v2.1/servers/"+id, "")
	if w.Code != 200 {
		return fmt.Sprint(w.Code)
	}
	var body struct{ Server map[string]any }
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		s.t.Fatal(err)
	}
	task := body.Server["OS-EXT-STS:task_state"]
	if task == nil {
		task = "-"
	}
	return fmt.Sprint(body.Server["status"], " ", body.Server["OS-EXT-STS:vm_state"], " ", task, " ", body.Server["OS-EXT-SRV-ATTR:host"])
}

// records are an instance's, oldest first: status and destination.
func (s *sim) records(id string) string {
	s.t.Helper()
	var all []string
	for _, m := range s.get("/v2.1/os-migrations?migration_type=evacuation&instance_uuid=" + id)["migrations"].([]any) {
		m := m.(map[string]any)
		dest := m["dest_compute"]
		if dest == nil {
			dest = "?"
		}
		all = append([]string{fmt.Sprint(m["status"], " ", dest)}, all...)
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
	s.is(when+": server", s.show(id), server)
	s.is(when+": records", s.records(id), records)
	s.is(when+": guests", s.guests(id), guests)
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
