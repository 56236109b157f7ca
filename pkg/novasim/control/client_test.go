package control_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/pkg/novasim"
	"github.com/nova-evac/nova-evac/pkg/novasim/api"
	"github.com/nova-evac/nova-evac/pkg/novasim/control"
)

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestClient(t *testing.T) {
	cloud := novasim.New(novasim.Config{Hosts: []string{"compute-1"}, Instances: []novasim.Batch{{Host: "compute-1", Count: 2}}})
	server := httptest.NewServer(api.New(cloud, api.Config{}))
	defer server.Close()
	client := control.Client{URL: server.URL, HTTP: server.Client()}
	ctx := t.Context()
	if err := client.AddHost(ctx, "compute-9"); err != nil {
		t.Fatal(err)
	}
	ids := must[[]string](t)(client.AddInstances(ctx, novasim.Batch{Host: "compute-9", Count: 3, Name: "db", VMState: "stopped"}))
	state := must[novasim.State](t)(client.State(ctx))
	if len(ids) != 3 || len(state.Hosts) != 2 || len(state.Instances) != 5 || state.Instances[2].Name != "db-3" || state.Instances[2].VMState != "stopped" || len(state.Hosts[1].Guests) != 3 {
		t.Errorf("%v, %+v", ids, state)
	}
	if err := client.SetLatency(ctx, 30*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	answer, err := http.Get(server.URL + "/v3")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if took := time.Since(start); took < 30*time.Millisecond {
		t.Errorf("a request took %v", took)
	}
	if r := must[control.Requests](t)(client.Requests(ctx)); r.Counts["version"] != 1 || len(r.Evacuations) != 0 {
		t.Errorf("requests: %+v", r)
	}
	if err := client.ChangeControllers(ctx, novasim.ControllerChange{Conductor: "freeze"}); err != nil {
		t.Error(err)
	}
	id := must[int](t)(client.AddFault(ctx, control.Fault{Match: control.Match{Kind: "keystone"}, Status: 503}))
	if err := client.RemoveFault(ctx, id); err != nil {
		t.Error(err)
	}
	if err := client.Reset(ctx); err != nil {
		t.Fatal(err)
	}
	if r := must[novasim.Report](t)(client.Check(ctx)); r.Instances != 2 || r.OnHost["compute-1"] != 2 {
		t.Errorf("after a reset: %+v", r)
	}
	report, err := client.WaitEvacuated(ctx, 1, 10*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "408") || report.Instances != 2 {
		t.Errorf("a wait for what never comes: %+v, %v", report, err)
	}
}
