package api

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

	"github.com/nova-evac/nova-evac/pkg/novasim"
	"github.com/nova-evac/nova-evac/pkg/novasim/control"
)

func TestReset(t *testing.T) {
	s := newSim(t, func(c *novasim.Config, _ *Config) { c.Instances = []novasim.Batch{{Host: "compute-1", Count: 3}} })
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
	if _, err := s.server.AddFault(control.Fault{Status: 503}); err != nil {
		t.Fatal(err)
	}
	s.server.Reset()
	s.is("instances", fmt.Sprint(ids()), fmt.Sprint(before))
	s.is("the token is gone, the fault is gone", fmt.Sprint(s.do("GET", "/v2.1/os-services", "").Code), "401")
	if r := s.server.Requests(); len(r.Evacuations) != 0 || s.cloud.Report().Running != 3 {
		t.Errorf("not fresh: %+v", r)
	}
	s.pass(time.Hour)
	if r := s.cloud.Report(); r.Running != 3 || r.Evacuated != 0 {
		t.Errorf("something of before the reset went on: %+v", r)
	}
}

// live is a cloud on a socket, under the wall clock.
func live(t *testing.T, cloud novasim.Config, cfg Config) (control.Client, string) {
	server := httptest.NewServer(New(novasim.New(cloud), cfg))
	t.Cleanup(server.Close)
	return control.Client{URL: server.URL, HTTP: server.Client()}, server.URL
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
		ctl, url := live(t, novasim.Config{Hosts: []string{"compute-1", "compute-2"}, Instances: []novasim.Batch{{Host: "compute-1", Count: 3}}}, Config{PageLimit: 2})
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
			if err := ctl.RevokeTokens(ctx); err != nil {
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
		if requests := must[control.Requests](t)(ctl.Requests(ctx)); requests.Counts["services"] != 3 || requests.Counts["keystone"] != 3 {
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
func dead(t *testing.T) (control.Client, *client, string) {
	ctl, url := live(t, novasim.Config{Hosts: []string{"compute-1", "compute-2"}, RebuildTime: time.Millisecond, SettleTime: time.Millisecond}, Config{})
	ctx := t.Context()
	ids := must[[]string](t)(ctl.AddInstances(ctx, novasim.Batch{Host: "compute-1", Count: 1}))
	if err := ctl.ChangeHost(ctx, "compute-1", novasim.HostChange{Power: "off"}); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, url)
	for _, h := range must[novasim.State](t)(ctl.State(ctx)).Hosts {
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
	return ctl, c, ids[0]
}

func TestManyClientsAtOnce(t *testing.T) {
	ctl, url := live(t, novasim.Config{Hosts: []string{"a", "b", "c"}, RebuildTime: 5 * time.Millisecond, SettleTime: time.Millisecond, RebuildLimit: 3,
		ServiceDownTime: time.Millisecond, Instances: []novasim.Batch{{Host: "a", Count: 40}}}, Config{})
	ctx := t.Context()
	if err := ctl.ChangeHost(ctx, "a", novasim.HostChange{Power: "off"}); err != nil {
		t.Fatal(err)
	}
	instances := must[novasim.State](t)(ctl.State(ctx)).Instances
	client := newClient(t, url)
	for must[novasim.State](t)(ctl.State(ctx)).Hosts[0].Up { // until its last heartbeat is a millisecond old
	}
	var group sync.WaitGroup
	for _, i := range instances {
		group.Go(func() {
			if got := client.do(ctx, "POST", "/v2.1/servers/"+i.ID+"/action", `{"evacuate":{}}`); got != "200" {
				t.Errorf("evacuate: %s", got)
			}
			client.do(ctx, "GET", "/v2.1/os-migrations?host=a", "")
			if _, err := ctl.State(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	r := must[novasim.Report](t)(ctl.WaitEvacuated(ctx, 40, 10*time.Second))
	if len(r.Breaches) > 0 || r.OnHost["b"] != 20 || r.OnHost["c"] != 20 || r.MostAccepted != 1 {
		t.Errorf("report: %+v", r)
	}
}
