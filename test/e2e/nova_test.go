package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/pkg/control"
	"github.com/nova-evac/nova-evac/test/conformance"
	"github.com/nova-evac/nova-evac/test/e2e/lab"
)

// computes are the compute hosts of the real Nova. compute-4 is no cluster node.
var computes = []string{"compute-1", "compute-2", "compute-3", "compute-4"}

func TestClusterWithRealNova(t *testing.T) {
	c := up(t, lab.Nova, 3)
	c.Run("it behaves as the conformance suite says", func(t *testing.T) {
		conformance.Run(t, conformance.Cloud{Keystone: c.CloudURL() + "/v3", User: lab.User, Password: lab.Password, Project: lab.Project, HTTP: c.HTTP(),
			Boot: c.Boot, Group: c.Group, Kill: c.ComputeKill, Start: c.ComputeStart, Stop: c.ComputeStop, Freeze: c.Freeze, Thaw: c.Thaw, Knob: c.Knob, Guests: c.Guests})
	})
	const servers = 20
	for _, host := range computes {
		c.must(c.Knob(host, "spawn_delay", "3"))
		c.must(c.Knob(host, "resume_guests", "yes")) // at the worst: a host that boots starts its guests
	}
	for _, s := range []struct {
		name, host string
		trouble    func(c *cluster, host string)
	}{
		{"a host loses its power and its instances come back", "compute-1", func(*cluster, string) {}},
		{"the owner's controller loses power half-way", "compute-2", func(c *cluster, host string) {
			owner := c.owner(host, servers/4)
			c.must(c.Kill(c.Context(), owner, "power"))
			c.must(c.WaitFenced(c.Context(), owner))
		}},
		{"a host that is on again at once, with no gate, is fenced again and stays off until its instances have left", "compute-3", func(c *cluster, host string) {
			c.until(host, time.Minute, "to be fenced a second time", func(h control.Host) bool { return h.Gen == 2 })
		}},
	} {
		c.Run(s.name, func(t *testing.T) {
			c := &cluster{T: t, Lab: c.Lab, sim: c.sim}
			if s.host == "compute-3" {
				c.remapped()
			}
			ids, err := c.Boot(c.Context(), servers, s.host)
			c.must(err)
			c.onceAtAnyMoment(ids)
			start := time.Now()
			c.must(c.Kill(c.Context(), s.host, "power"))
			s.trouble(c, s.host)
			h := c.evacuated(s.host)
			// The earlier host's instances may have come here, and leave with the others.
			if h.Done < servers || h.Failed+h.Skipped != 0 || h.Done != h.Total {
				c.Errorf("%+v", h)
			}
			t.Logf("%d instances evacuated %v after the power cut", h.Done, time.Since(start).Round(time.Second))
			c.onceOnNova(ids, s.host)
			c.back(s.host)
			t.Logf("let in %v after the power cut", time.Since(start).Round(time.Second))
			c.onceOnNova(ids, s.host)
		})
	}
	c.Run("Nova is away during the fencing, and the host is back with its guests before that", func(t *testing.T) {
		novaAway(&cluster{T: t, Lab: c.Lab, sim: c.sim})
	})
	c.Run("supervisors that come late let the guests of a host run, and what is sent all the same is named and ended", func(t *testing.T) {
		lateSupervisors(&cluster{T: t, Lab: c.Lab, sim: c.sim})
	})
	c.Run("a host that is on again at once waits behind the gate, is let in, and takes new instances", func(t *testing.T) {
		behindTheGate(&cluster{T: t, Lab: c.Lab, sim: c.sim})
	})
	c.Run("30 instances in mixed states, and the owner and a destination die", func(t *testing.T) {
		start := time.Now()
		mixedStates(&cluster{T: t, Lab: c.Lab, sim: c.sim})
		t.Logf("took %v", time.Since(start).Round(time.Second))
	})
}

// remapped has Pacemaker power fenced hosts on again at once, for the time of the test.
func (c *cluster) remapped() {
	c.Helper()
	set := func(ctx context.Context, action string) {
		_, err := c.Exec(ctx, "ctl1", "crm_attribute", "--name", "stonith-action", "--update", action)
		c.must(err)
	}
	set(c.Context(), "reboot")
	c.Cleanup(func() { set(context.Background(), "off") })
}

// parameter sets a parameter of the supervisors, for the time of the test: Pacemaker
// restarts them.
func (c *cluster) parameter(name, value string) {
	c.Helper()
	supervisor := func(ctx context.Context, node string) (string, error) {
		return c.Lab.Exec(ctx, node, "pgrep", "-f", "^/usr/sbin/nova-evac supervise")
	}
	change := func(ctx context.Context, args ...string) {
		before := map[string]string{}
		for _, node := range lab.Controllers {
			pid, err := supervisor(ctx, node)
			c.must(err)
			before[node] = pid
		}
		_, err := c.Lab.Exec(ctx, "ctl1", append([]string{"crm_resource", "--resource", "nova-evacuate"}, args...)...)
		c.must(err)
		c.must(lab.Wait(ctx, time.Minute, "all supervisors to be restarted", func(context.Context) error {
			for _, node := range lab.Controllers {
				pid, err := supervisor(ctx, node)
				if err == nil && pid == before[node] {
					err = fmt.Errorf("%s still has the one from before", node)
				}
				if err == nil {
					_, err = c.Lab.Exec(ctx, node, "nova-evac", "ocf", "monitor")
				}
				if err != nil {
					return err
				}
			}
			return nil
		}))
	}
	change(c.Context(), "--set-parameter", name, "--parameter-value", value)
	c.Cleanup(func() { change(context.Background(), "--delete-parameter", name) })
}

// onceAtAnyMoment asks the hypervisors twice a second, until the test ends, whether one of
// these instances runs on two hosts.
func (c *cluster) onceAtAnyMoment(ids []string) {
	ended := make(chan struct{})
	ctx, stop := context.WithCancel(c.Context())
	go func() {
		defer close(ended)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			if guests, err := c.allGuests(); err != nil {
				c.Errorf("ask the hypervisors: %v", err)
				return
			} else {
				for _, id := range ids {
					if on := guests[id]; len(on) > 1 {
						c.Errorf("instance %s runs on %v", id, on)
						return
					}
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	c.Cleanup(func() { stop(); <-ended })
}

// resumed waits until a host that boots has started its guests, and Nova has heard from it.
func (c *cluster) resumed(host string, ids []string) {
	c.Helper()
	c.must(lab.Wait(c.Context(), 2*time.Minute, host+" to run its guests again", func(context.Context) error {
		on, err := c.Guests(host)
		if err == nil && len(on) < len(ids) {
			err = fmt.Errorf("it runs %d", len(on))
		}
		return err
	}))
}

// novaAway: the host boots at once, and starts its guests, while Nova's API hangs. Nobody
// could tell Nova that the host was down; once it is there again the host is left alone.
func novaAway(c *cluster) {
	const host = "compute-2"
	c.back(host)
	c.remapped()
	ids, err := c.Boot(c.Context(), 10, host)
	c.must(err)
	c.onceAtAnyMoment(ids)
	c.must(c.Freeze("api"))
	thaw := sync.OnceValue(func() error { return c.Thaw("api") })
	defer thaw()
	c.must(c.Kill(c.Context(), host, "power"))
	c.resumed(host, ids)
	// Longer than a host boots; by then Nova has heard from its nova-compute.
	c.until(host, 2*time.Minute, "to be on again for a while", func(h control.Host) bool { return h.Power != "off" && time.Since(h.Since) > 45*time.Second })
	c.must(thaw())
	h := c.until(host, 3*time.Minute, "to say what it sees", func(h control.Host) bool { return strings.Contains(h.WaitingFor, "nova-evac admit "+host) })
	if h.Gen != 1 || !strings.Contains(h.WaitingFor, "see that they run") {
		c.Errorf("%+v", h)
	}
	if s := c.novaService(host); s.Forced || s.Status != "enabled" || s.State != "up" {
		c.Errorf("it was let alone: %+v", s)
	}
	_, err = c.alive("nova-evac", "admit", "--yes", host)
	c.must(err)
	c.must(c.statusWithout(host + " "))
	c.stillThere(ids, host)
}

// lateSupervisors: the host boots at once, and runs its guests, while no supervisor runs.
// Then they start: nothing is sent, and nothing that runs is ended. An operator who has it
// evacuated all the same makes guests run twice; they are named, and end with the start of
// nova-compute.
func lateSupervisors(c *cluster) {
	const host = "compute-2"
	c.back(host)
	c.remapped()
	ids, err := c.Boot(c.Context(), 8, host)
	c.must(err)
	_, err = c.alive("crm_resource", "--resource", "nova-evacuate-clone", "--meta", "--set-parameter", "target-role", "--parameter-value", "Stopped")
	c.must(err)
	start := sync.OnceFunc(func() {
		_, err := c.Lab.Exec(context.Background(), "ctl1", "crm_resource", "--resource", "nova-evacuate-clone", "--meta", "--delete-parameter", "target-role")
		c.must(err)
	})
	defer start()
	c.must(lab.Wait(c.Context(), time.Minute, "the supervisors to stop", func(context.Context) error {
		out, err := c.alive("crm_resource", "--resource", "nova-evacuate-clone", "--locate")
		if err == nil && strings.Contains(out, "is running on") {
			err = errors.New(out)
		}
		return err
	}))
	c.must(c.Kill(c.Context(), host, "power"))
	c.resumed(host, ids)
	// Longer than a host boots: one that cannot have booted would be fenced again.
	c.until(host, 2*time.Minute, "to be on again for a while", func(h control.Host) bool { return h.Power == "on" && time.Since(h.Since) > 45*time.Second })
	start()
	h := c.until(host, 2*time.Minute, "to be held", func(h control.Host) bool {
		return h.Phase == "held" && strings.Contains(h.WaitingFor, "DANGER: nova-compute of "+host+" runs")
	})
	if h.Gen != 1 || h.Done != 0 || h.Power != "running" {
		c.Errorf("%+v", h)
	}
	c.stillThere(ids, host)

	_, err = c.alive("nova-evac", "resume", host)
	c.must(err)
	h = c.until(host, 3*time.Minute, "to name the guests that run twice", func(h control.Host) bool {
		return h.Phase == "returning" && strings.Contains(h.WaitingFor, "DANGER: guests of ")
	})
	if !strings.Contains(h.WaitingFor, "may run here and elsewhere; nova-compute to be restarted on "+host) {
		c.Errorf("%+v", h)
	}
	if s := c.novaService(host); !s.Forced {
		c.Errorf("it was let in: %+v", s)
	}
	c.must(c.ComputeStop(host))
	c.must(c.ComputeStart(host))
	c.back(host)
	c.onceOnNova(ids, host)
}

// stillThere: each instance runs on its host, and on no other, and was never evacuated.
func (c *cluster) stillThere(ids []string, host string) {
	c.Helper()
	guests, api := c.guests(), c.nova()
	for _, id := range ids {
		if s, on := api.server(c, id), guests[id]; s.Status != "ACTIVE" || s.Task != nil || s.Host != host || len(on) != 1 || on[0] != host {
			c.Errorf("instance %s: %+v, its guest is on %v", id, s, on)
		}
	}
}

// behindTheGate: the host is on at once, and nothing is sent from it before its gate says
// that it holds nova-compute back. In all of it no instance runs twice.
func behindTheGate(c *cluster) {
	const host = "compute-1"
	for _, host := range computes {
		c.back(host)
	}
	c.gated()
	c.remapped()
	c.parameter("refence", "no")
	ids, err := c.Boot(c.Context(), 15, host)
	c.must(err)
	c.onceAtAnyMoment(ids)
	c.must(c.Kill(c.Context(), host, "power"))
	start := time.Now()
	h := c.evacuated(host)
	if h.Gen != 1 {
		c.Errorf("it was fenced again: %+v", h)
	}
	evacuated := time.Since(start)
	c.onceOnNova(ids, host)
	c.letIn(host)
	c.Logf("evacuated %v after the power cut, let in after %v", evacuated.Round(time.Second), time.Since(start).Round(time.Second))
	s := c.novaService(host)
	if s.Forced || s.Status != "enabled" || s.State != "up" {
		c.Errorf("let in: %+v", s)
	}
	more, err := c.Boot(c.Context(), 2, host)
	c.must(err)
	c.onceOnNova(ids, host)
	for _, id := range more {
		if on := c.guests()[id]; len(on) != 1 || on[0] != host {
			c.Errorf("a new instance of %s is on %v", host, on)
		}
	}
}

// novaService is a nova-compute as Nova shows it.
type novaService struct {
	ID     string `json:"id"`
	Forced bool   `json:"forced_down"`
	Status string `json:"status"`
	State  string `json:"state"`
}

func (c *cluster) novaService(host string) novaService {
	c.Helper()
	var answer struct{ Services []novaService }
	c.nova().get(c, "/os-services?binary=nova-compute&host="+host, &answer)
	return answer.Services[0]
}

// mixed is what the instances of a host are when it dies, and what they must be in the
// end: evacuated as they were, or left with a reason.
var mixed = []struct {
	count  int
	action string
	before string // status that the action leads to
	after  string
}{
	{18, "", "ACTIVE", "ACTIVE"},
	{4, `{"os-stop":null}`, "SHUTOFF", "SHUTOFF"},
	{3, `{"os-resetState":{"state":"error"}}`, "ERROR", "ACTIVE"},
	{2, `{"lock":null}`, "ACTIVE", "ACTIVE"},
	{2, `{"pause":null}`, "PAUSED", ""},
	{1, `{"suspend":null}`, "SUSPENDED", ""},
}

// mixedStates: 30 instances in mixed states; the owner's controller loses its power,
// then a destination does.
func mixedStates(c *cluster) {
	const source, dest = "compute-3", "compute-2"
	for _, host := range computes {
		c.back(host)
	}
	api := c.nova()
	ids, err := c.Boot(c.Context(), 30, source)
	c.must(err)
	want, n := map[string]string{}, 0
	for _, m := range mixed {
		for range m.count {
			id := ids[n]
			n++
			want[id] = m.after
			if m.action != "" {
				c.is(m.action, api.do(c, http.MethodPost, "/servers/"+id+"/action", m.action), http.StatusAccepted)
			}
			c.must(lab.Wait(c.Context(), time.Minute, id+" to be "+m.before, func(context.Context) error {
				if got := api.server(c, id); got.Status != m.before {
					return fmt.Errorf("%+v", got)
				}
				return nil
			}))
		}
	}
	c.must(c.Kill(c.Context(), source, "crash"))
	owner := c.owner(source, 5)
	c.must(c.Kill(c.Context(), owner, "power"))
	c.must(c.WaitFenced(c.Context(), owner))
	c.must(c.Kill(c.Context(), dest, "power"))
	h := c.evacuated(source)
	c.evacuated(dest)
	if h.Skipped != 3 || h.Failed != 0 || !strings.Contains(h.WaitingFor, "Nova does not evacuate an instance that is") {
		c.Errorf("status: %+v", h)
	}
	guests := c.guests()
	for id, after := range want {
		got := api.server(c, id)
		if after == "" {
			if got.Host != source {
				c.Errorf("instance %s, which Nova does not evacuate: %+v", id, got)
			}
			continue
		}
		if on := guests[id]; got.Status != after || got.Task != nil || len(on) != 1 || on[0] != got.Host || got.Host == source {
			c.Errorf("instance %s: %+v, expected %s, its guest is on %v", id, got, after, on)
		}
	}
}

// back waits until a host is let in, and does what its record asks an operator to do.
func (c *cluster) back(host string) {
	c.Helper()
	ask := "nova-compute to be restarted on " + host
	c.must(lab.Wait(c.Context(), 5*time.Minute, host+" to be let in", func(context.Context) error {
		err := c.statusWithout(host + " ")
		if err != nil && strings.Contains(err.Error(), ask) {
			c.must(c.ComputeKill(host))
			c.must(c.ComputeStart(host))
			c.must(lab.Wait(c.Context(), time.Minute, "the record to go on", func(context.Context) error { return c.statusWithout(ask) }))
		}
		if s := c.novaService(host); err == nil && (s.Forced || s.Status != "enabled" || s.State != "up") {
			err = fmt.Errorf("%+v", s)
		}
		return err
	}))
}

// guests asks all hypervisors which guests they run.
func (c *cluster) guests() map[string][]string {
	c.Helper()
	guests, err := c.allGuests()
	c.must(err)
	return guests
}

func (c *cluster) allGuests() (map[string][]string, error) {
	guests := map[string][]string{}
	for _, host := range computes {
		on, err := c.Guests(host)
		if err != nil {
			return nil, err
		}
		for id := range on {
			guests[id] = append(guests[id], host)
		}
	}
	return guests, nil
}

func (c *cluster) is(what string, got, want int) {
	c.Helper()
	if got != want {
		c.Fatalf("%s: %d, expected %d", what, got, want)
	}
}

// onceOnNova asks the hypervisors and Nova: each instance runs on exactly one host,
// not the dead one, active, and by exactly one evacuation from it.
func (c *cluster) onceOnNova(ids []string, dead string) {
	c.Helper()
	guests := c.guests()
	api := c.nova()
	var records struct {
		Migrations []struct {
			Instance string `json:"instance_uuid"`
			Source   string `json:"source_compute"`
			Status   string `json:"status"`
		} `json:"migrations"`
	}
	api.get(c, "/os-migrations?migration_type=evacuation&limit=1000", &records)
	evacuations := map[string][]string{}
	for _, m := range records.Migrations {
		if m.Source == dead {
			evacuations[m.Instance] = append(evacuations[m.Instance], m.Status)
		}
	}
	for _, id := range ids {
		s := api.server(c, id)
		if s.Status != "ACTIVE" || s.Task != nil || s.Host == dead {
			c.Errorf("instance %s: %+v", id, s)
		}
		if on := guests[id]; len(on) != 1 || on[0] != s.Host {
			c.Errorf("instance %s runs on %v, Nova says %s", id, on, s.Host)
		}
		if e := evacuations[id]; len(e) != 1 || e[0] != "done" && e[0] != "completed" {
			c.Errorf("instance %s: its evacuations from %s are %v", id, dead, e)
		}
	}
}

// novaAPI is Nova, asked without our own client: a test must not take its word.
type novaAPI struct{ url, token string }

func (c *cluster) nova() novaAPI {
	c.Helper()
	body := fmt.Sprintf(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":%q,"domain":{"id":"default"},"password":%q}}},`+
		`"scope":{"project":{"name":%q,"domain":{"id":"default"}}}}}`, lab.User, lab.Password, lab.Project)
	r, err := http.NewRequestWithContext(c.Context(), http.MethodPost, c.CloudURL()+"/v3/auth/tokens", strings.NewReader(body))
	c.must(err)
	r.Header.Set("Content-Type", "application/json")
	answer, err := c.HTTP().Do(r)
	c.must(err)
	defer answer.Body.Close()
	var got struct {
		Token struct {
			Catalog []struct {
				Type      string
				Endpoints []struct{ URL string }
			}
		}
	}
	c.must(json.NewDecoder(answer.Body).Decode(&got))
	for _, service := range got.Token.Catalog {
		if service.Type == "compute" && len(service.Endpoints) > 0 {
			return novaAPI{service.Endpoints[0].URL, answer.Header.Get("X-Subject-Token")}
		}
	}
	c.Fatalf("keystone answered %s without a compute service", answer.Status)
	return novaAPI{}
}

// novaServer is a server as Nova shows it.
type novaServer struct {
	Host   string  `json:"OS-EXT-SRV-ATTR:host"`
	Status string  `json:"status"`
	Task   *string `json:"OS-EXT-STS:task_state"`
}

func (n novaAPI) server(c *cluster, id string) novaServer {
	c.Helper()
	var answer struct{ Server novaServer }
	n.get(c, "/servers/"+id, &answer)
	return answer.Server
}

// do sends a request with a body, and returns the answer's code.
func (n novaAPI) do(c *cluster, method, path, body string) int {
	c.Helper()
	code, _ := n.send(c, method, path, body)
	return code
}

func (n novaAPI) get(c *cluster, path string, into any) {
	c.Helper()
	code, data := n.send(c, http.MethodGet, path, "")
	if code != http.StatusOK {
		c.Fatalf("GET %s: %d: %s", path, code, data)
	}
	c.must(json.NewDecoder(bytes.NewReader(data)).Decode(into))
}

func (n novaAPI) send(c *cluster, method, path, body string) (code int, data []byte) {
	c.Helper()
	r, err := http.NewRequestWithContext(c.Context(), method, n.url+path, strings.NewReader(body))
	c.must(err)
	r.Header.Set("X-Auth-Token", n.token)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("OpenStack-API-Version", "compute 2.80")
	answer, err := c.HTTP().Do(r)
	c.must(err)
	defer answer.Body.Close()
	data, err = io.ReadAll(answer.Body)
	c.must(err)
	return answer.StatusCode, data
}
