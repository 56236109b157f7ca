package api

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/pkg/novasim"
	"github.com/nova-evac/nova-evac/pkg/novasim/control"
)

func TestControlRefuses(t *testing.T) {
	_, url := live(t, novasim.Config{Hosts: []string{"compute-1"}}, Config{})
	ctx := t.Context()
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

// A wait must not depend on other calls: under the wall clock it drives the cloud by itself,
// under another clock it wakes when the clock is moved.
func TestWait(t *testing.T) {
	ctl, client, id := dead(t)
	if got := client.do(t.Context(), "POST", "/v2.1/servers/"+id+"/action", `{"evacuate":{}}`); got != "200" {
		t.Fatal(got)
	}
	if r := must[novasim.Report](t)(ctl.WaitEvacuated(t.Context(), 1, 10*time.Second)); r.Evacuated != 1 {
		t.Errorf("report: %+v", r)
	}

	s := newSim(t, nil)
	other := s.boot("compute-1")
	s.down("compute-1")
	server := httptest.NewServer(s.server)
	defer server.Close()
	ctl = control.Client{URL: server.URL}
	done := make(chan error, 1)
	go func() {
		_, err := ctl.WaitInProgress(t.Context(), 1, 10*time.Second)
		done <- err
	}()
	s.accepted(other, "")
	if err := <-done; err != nil {
		t.Error(err)
	}
	go func() {
		_, err := ctl.WaitEvacuated(t.Context(), 1, 10*time.Second)
		done <- err
	}()
	s.cloud.Advance(s.now.Add(time.Minute))
	if err := <-done; err != nil {
		t.Error(err)
	}
}
