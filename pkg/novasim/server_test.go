package novasim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/services"
)

// live is a cloud on a socket, under the wall clock.
func live(t *testing.T, cfg Config) (Control, string) {
	server := httptest.NewServer(New(cfg).Handler())
	t.Cleanup(server.Close)
	return Control{URL: server.URL, HTTP: server.Client()}, server.URL
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestGophercloudWorksWithIt(t *testing.T) {
	for _, path := range []string{"/v3", "/v3/", "/"} {
		control, url := live(t, Config{Hosts: []string{"compute-1", "compute-2"}, Instances: []Batch{{Host: "compute-1", Count: 3}}, PageLimit: 2})
		ctx := t.Context()
		provider, err := openstack.AuthenticatedClient(ctx, gophercloud.AuthOptions{IdentityEndpoint: url + path, Username: "admin", Password: "secret",
			DomainName: "Default", TenantName: "admin", AllowReauth: true})
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		compute, err := openstack.NewComputeV2(provider, gophercloud.EndpointOpts{Region: "RegionOne"})
		if err != nil {
			t.Fatal(err)
		}
		compute.Microversion = "2.90"
		for _, when := range []string{"at first", "after its token was revoked"} {
			pages, err := services.List(compute, services.ListOpts{Binary: "nova-compute"}).AllPages(ctx)
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			list, err := services.ExtractServices(pages)
			if err != nil {
				t.Fatal(err)
			}
			if len(list) != 2 || list[0].Host != "compute-1" || list[0].State != "up" || list[0].Status != "enabled" || list[0].UpdatedAt.IsZero() {
				t.Errorf("%s: %+v", when, list)
			}
			if err := control.RevokeTokens(ctx); err != nil {
				t.Fatal(err)
			}
		}
		pages, err := servers.List(compute, servers.ListOpts{AllTenants: true, Host: "compute-1"}).AllPages(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if list, err := servers.ExtractServers(pages); err != nil || len(list) != 3 || list[0].VmState != "active" {
			t.Errorf("servers: %v, %v", list, err)
		}
		if requests := must[Requests](t)(control.Requests(ctx)); requests.Counts["services"] != 3 || requests.Counts["keystone"] != 3 {
			t.Errorf("counts: %v", requests.Counts)
		}
	}
}

// client sends a request with a token, and gives the code, or the error.
type client struct {
	t     *testing.T
	url   string
	token string
}

func newClient(t *testing.T, url string) *client {
	r, err := http.Post(url+"/v3/auth/tokens", "application/json", strings.NewReader(`{"auth":{"identity":{"methods":["password"],
		"password":{"user":{"name":"admin","domain":{"id":"default"},"password":"secret"}}},"scope":{"project":{"name":"admin","domain":{"id":"default"}}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	return &client{t, url, r.Header.Get("X-Subject-Token")}
}

func (c *client) do(ctx context.Context, method, path, body string) string {
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("X-Auth-Token", c.token)
	r.Header.Set("OpenStack-API-Version", "compute 2.90")
	r.Header.Set("User-Agent", "tester")
	answer, err := http.DefaultTransport.RoundTrip(r)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case err != nil:
		return "cut"
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	return fmt.Sprint(answer.StatusCode)
}

// dead is a cloud with one instance on a dead host.
func dead(t *testing.T) (Control, *client, string) {
	control, url := live(t, Config{Hosts: []string{"compute-1", "compute-2"}, RebuildTime: time.Millisecond, SettleTime: time.Millisecond})
	ctx := t.Context()
	ids := must[[]string](t)(control.AddInstances(ctx, Batch{Host: "compute-1", Count: 1}))
	if err := control.ChangeHost(ctx, "compute-1", HostChange{Power: "off"}); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, url)
	for _, h := range must[State](t)(control.State(ctx)).Hosts {
		if h.Name == "compute-1" && h.Power != "off" {
			t.Fatalf("not off: %+v", h)
		}
	}
	// The service's id is not in the control API: force it down as an old client does.
	r, err := http.NewRequestWithContext(ctx, "PUT", url+"/v2.1/os-services/force-down", strings.NewReader(`{"host":"compute-1","binary":"nova-compute","forced_down":true}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Auth-Token", c.token)
	r.Header.Set("OpenStack-API-Version", "compute 2.11")
	answer, err := http.DefaultClient.Do(r)
	if err != nil || answer.StatusCode != 200 {
		t.Fatalf("force down: %v %v", answer, err)
	}
	answer.Body.Close()
	return control, c, ids[0]
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name    string
		fault   Fault
		answer  string
		code    int
		effects int
		replied bool
	}{
		{"none", Fault{Match: Match{Kind: "migrations"}, Status: 503}, "200", 200, 1, true},
		{"a status has no effect", Fault{Match: Match{Kind: "evacuate"}, Status: 503}, "503", 0, 0, true},
		{"a 401 has none either", Fault{Match: Match{Kind: "evacuate"}, Status: 401}, "401", 0, 0, true},
		{"a cut before has no effect", Fault{Match: Match{Kind: "evacuate"}, Cut: "before"}, "cut", 0, 0, false},
		{"a cut after has its effect", Fault{Match: Match{Kind: "evacuate"}, Cut: "after"}, "cut", 200, 1, false},
		{"a hang has no effect", Fault{Match: Match{Kind: "*"}, Hang: true}, "timeout", 0, 0, false},
		{"a latency has its effect", Fault{Match: Match{Path: "/action$"}, Latency: "20ms"}, "200", 200, 1, true},
		{"another path is not struck", Fault{Match: Match{Path: "/detail$"}, Status: 503}, "200", 200, 1, true},
		{"a fault that is over does not strike", Fault{Status: 503, For: "0s"}, "200", 200, 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			control, client, id := dead(t)
			must[int](t)(control.AddFault(t.Context(), c.fault))
			ctx, cancel := t.Context(), context.CancelFunc(func() {})
			if c.fault.Hang {
				ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
			}
			defer cancel()
			start := time.Now()
			if got := client.do(ctx, "POST", "/v2.1/servers/"+id+"/action", `{"evacuate":{}}`); got != c.answer {
				t.Errorf("answer %s, not %s", got, c.answer)
			}
			if took := time.Since(start); c.fault.Latency != "" && took < 20*time.Millisecond {
				t.Errorf("it took %v only", took)
			}
			if err := control.ClearFaults(t.Context()); err != nil {
				t.Fatal(err)
			}
			if c.effects > 0 {
				must[Report](t)(control.WaitEvacuated(t.Context(), 1, 10*time.Second))
			}
			sent := must[Requests](t)(control.Requests(t.Context())).Evacuations
			if len(sent) != 1 || sent[0].Instance != id || sent[0].Code != c.code || sent[0].Answered != c.replied || sent[0].UserAgent != "tester" ||
				sent[0].Remote == "" || time.Since(time.Unix(0, sent[0].At)) > time.Minute {
				t.Errorf("sent: %+v", sent)
			}
			if got := must[Report](t)(control.Check(t.Context())).MostAccepted; got != c.effects {
				t.Errorf("%d accepted", got)
			}
		})
	}
}

func TestAFaultStrikesAsOftenAsItShould(t *testing.T) {
	s := newSim(t, func(c *Config) { c.TokenLifetime = 1e6 * time.Hour })
	add := func(f Fault) int { return must[int](t)(s.cloud.AddFault(f)) }
	struck := func(n int) (all int) {
		for range n {
			if s.do("GET", "/v2.1/os-services", "").Code == 503 {
				all++
			}
		}
		return all
	}
	add(Fault{Match: Match{Kind: "services"}, Status: 503, Count: 2})
	s.is("a count of 2", fmt.Sprint(struck(5)), "2")
	add(Fault{Status: 503, For: "60s"})
	s.pass(59 * time.Second)
	s.is("within 60 s", fmt.Sprint(struck(5)), "5")
	s.pass(time.Second)
	s.is("after 60 s", fmt.Sprint(struck(5)), "0")
	id := add(Fault{Status: 503})
	s.is("without an end", fmt.Sprint(struck(5)), "5")
	s.cloud.RemoveFault(id)
	s.is("removed", fmt.Sprint(struck(5)), "0")
	add(Fault{Status: 503, Probability: 0.25})
	if n := struck(1000); n < 180 || n > 320 {
		t.Errorf("a quarter of 1000 is not %d", n)
	}
	s.cloud.ClearFaults()
	s.is("cleared", fmt.Sprint(struck(5)), "0")
	for _, f := range []Fault{{}, {Status: 99}, {Cut: "off"}, {Latency: "x"}, {Latency: "-1s"}, {Hang: true, For: "x"}, {Hang: true, Match: Match{Kind: "nosuch"}}, {Hang: true, Match: Match{Path: "("}}} {
		if _, err := s.cloud.AddFault(f); err == nil {
			t.Errorf("%+v is accepted", f)
		}
	}
}

func TestControl(t *testing.T) {
	control, url := live(t, Config{Hosts: []string{"compute-1"}, Instances: []Batch{{Host: "compute-1", Count: 2}}})
	ctx := t.Context()
	if err := control.AddHost(ctx, "compute-9"); err != nil {
		t.Fatal(err)
	}
	ids := must[[]string](t)(control.AddInstances(ctx, Batch{Host: "compute-9", Count: 3, Name: "db", VMState: "stopped"}))
	state := must[State](t)(control.State(ctx))
	if len(ids) != 3 || len(state.Hosts) != 2 || len(state.Instances) != 5 || state.Instances[2].Name != "db-3" || state.Instances[2].VMState != "stopped" || len(state.Hosts[1].Guests) != 3 {
		t.Errorf("%v, %+v", ids, state)
	}
	if err := control.SetLatency(ctx, 30*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	newClient(t, url)
	if took := time.Since(start); took < 30*time.Millisecond {
		t.Errorf("a request took %v", took)
	}
	if err := control.ChangeControllers(ctx, ControllerChange{Conductor: "freeze"}); err != nil {
		t.Error(err)
	}
	id := must[int](t)(control.AddFault(ctx, Fault{Match: Match{Kind: "keystone"}, Status: 503}))
	if err := control.RemoveFault(ctx, id); err != nil {
		t.Error(err)
	}
	if err := control.Reset(ctx); err != nil {
		t.Fatal(err)
	}
	if r := must[Report](t)(control.Check(ctx)); r.Instances != 2 || r.OnHost["compute-1"] != 2 {
		t.Errorf("after a reset: %+v", r)
	}
	report, err := control.WaitEvacuated(ctx, 1, 10*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "408") || report.Instances != 2 {
		t.Errorf("a wait for what never comes: %+v, %v", report, err)
	}

	for _, c := range []struct{ method, path, body, want string }{
		{"POST", "hosts/nosuch", `{"power":"off"}`, "no host nosuch"},
		{"POST", "hosts/compute-1", `{"power":"maybe"}`, "neither on nor off"},
		{"POST", "hosts/compute-1", `{"compute":"maybe"}`, "none of start"},
		{"POST", "hosts/compute-1", `{"rebuild_time":"soon"}`, "rebuild_time"},
		{"POST", "hosts/compute-1", `{"powr":"off"}`, "unknown field"},
		{"POST", "hosts/compute-1", `{"power":"off","compute":"start"}`, "has no power"},
		{"POST", "hosts", `{"name":"compute-1"}`, "there already"},
		{"POST", "instances", `{"host":"nosuch"}`, "no host nosuch"},
		{"POST", "instances", `{"host":"compute-1","vm_state":"gone"}`, "vm_state gone"},
		{"POST", "faults", `{"kind":"evacuate","status":503}`, "unknown field"},
		{"POST", "controllers", `{"scheduler":"off"}`, "neither freeze nor thaw"},
		{"POST", "latency", `{"base":"x"}`, "base"},
		{"DELETE", "faults/x", ``, "is no number"},
		{"GET", "wait?evacuated=1", ``, "evacuated_at_least"},
		{"GET", "wait?evacuated_at_least=x", ``, "invalid syntax"},
	} {
		r, err := http.NewRequestWithContext(ctx, c.method, url+"/control/"+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		said, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if answer.StatusCode != 400 || !strings.Contains(string(said), c.want) {
			t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, answer.StatusCode, said)
		}
	}
}

func TestManyClientsAtOnce(t *testing.T) {
	control, url := live(t, Config{Hosts: []string{"a", "b", "c"}, RebuildTime: 5 * time.Millisecond, SettleTime: time.Millisecond, RebuildLimit: 3,
		ServiceDownTime: time.Millisecond, Instances: []Batch{{Host: "a", Count: 40}}})
	ctx := t.Context()
	if err := control.ChangeHost(ctx, "a", HostChange{Power: "off"}); err != nil {
		t.Fatal(err)
	}
	instances := must[State](t)(control.State(ctx)).Instances
	client := newClient(t, url)
	for must[State](t)(control.State(ctx)).Hosts[0].Up { // until its last heartbeat is a millisecond old
	}
	var group sync.WaitGroup
	for _, i := range instances {
		group.Go(func() {
			if got := client.do(ctx, "POST", "/v2.1/servers/"+i.ID+"/action", `{"evacuate":{}}`); got != "200" {
				t.Errorf("evacuate: %s", got)
			}
			client.do(ctx, "GET", "/v2.1/os-migrations?host=a", "")
			if _, err := control.State(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	r := must[Report](t)(control.WaitEvacuated(ctx, 40, 10*time.Second))
	if len(r.Breaches) > 0 || r.OnHost["b"] != 20 || r.OnHost["c"] != 20 || r.MostAccepted != 1 {
		t.Errorf("report: %+v", r)
	}
}

// A wait must not depend on other calls: under the wall clock it drives the cloud by itself,
// under another clock it wakes when the clock is moved.
func TestWait(t *testing.T) {
	control, client, id := dead(t)
	if got := client.do(t.Context(), "POST", "/v2.1/servers/"+id+"/action", `{"evacuate":{}}`); got != "200" {
		t.Fatal(got)
	}
	if r := must[Report](t)(control.WaitEvacuated(t.Context(), 1, 10*time.Second)); r.Evacuated != 1 {
		t.Errorf("report: %+v", r)
	}

	s := newSim(t, nil)
	other := s.boot("compute-1")
	s.down("compute-1")
	server := httptest.NewServer(s.handler)
	defer server.Close()
	control = Control{URL: server.URL}
	done := make(chan error, 1)
	go func() {
		_, err := control.WaitInProgress(t.Context(), 1, 10*time.Second)
		done <- err
	}()
	s.accepted(other, "")
	if err := <-done; err != nil {
		t.Error(err)
	}
	go func() {
		_, err := control.WaitEvacuated(t.Context(), 1, 10*time.Second)
		done <- err
	}()
	s.cloud.Advance(s.now.Add(time.Minute))
	if err := <-done; err != nil {
		t.Error(err)
	}
}
