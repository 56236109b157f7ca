// Package e2e runs the main job on the lab: a real Pacemaker cluster, with the
// simulated cloud, which can be hurt on demand and knows the truth, and with the
// real Nova.
package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/pkg/control"
	simcontrol "github.com/nova-evac/nova-evac/pkg/novasim/control"
	"github.com/nova-evac/nova-evac/test/e2e/lab"
)

// exampleForLab is the example that we ship, as a lab can load it, in a file.
func exampleForLab(t *testing.T, remotes int) string {
	t.Helper()
	data, err := os.ReadFile("../../crm-examples/nova-evac.crm")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "example.crm")
	if err := os.WriteFile(path, []byte(lab.Example(string(data), remotes)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// labs has one test at a time have the lab of a cloud.
var labs = map[string]*sync.Mutex{lab.Novasim: {}, lab.Nova: {}}

// up brings a lab up with the example's configuration, for the time of the test. Tests of
// one cloud run beside those of the other: most of their time is waiting.
func up(t *testing.T, cloud string, remotes int) *cluster {
	t.Helper()
	lab.Need(t)
	t.Parallel()
	labs[cloud].Lock()
	t.Cleanup(labs[cloud].Unlock)
	l, err := lab.Up(t.Context(), lab.Options{Cloud: cloud, Remotes: remotes, Config: exampleForLab(t, remotes)})
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{T: t, Lab: l, sim: simcontrol.Client{URL: l.CloudURL(), HTTP: l.HTTP()}}
	t.Cleanup(func() {
		if t.Failed() {
			dir := filepath.Join(cmp.Or(os.Getenv("NOVA_EVAC_FAILED_LOGS"), os.TempDir()), "nova-evac-e2e-logs-"+cloud)
			if err := l.Logs(dir); err == nil {
				t.Logf("the nodes' logs are in %s", dir)
			}
		}
		if err := l.Down(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// cluster is a lab with what the tests ask of it.
type cluster struct {
	*testing.T
	*lab.Lab
	sim simcontrol.Client
}

func (c *cluster) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// alive runs a command on the first controller that answers.
func (c *cluster) alive(args ...string) (string, error) {
	var errs []error
	for _, node := range lab.Controllers {
		ctx, cancel := context.WithTimeout(c.Context(), time.Minute)
		out, err := c.Exec(ctx, node, args...)
		cancel()
		if err == nil {
			return out, nil
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}

// record is a host's record, as `nova-evac status` shows it.
func (c *cluster) record(host string) (control.Host, error) {
	out, err := c.alive("nova-evac", "status", "--output", "json", host)
	if err != nil {
		return control.Host{}, err
	}
	var hosts []control.Host
	if err := json.Unmarshal([]byte(out), &hosts); err != nil || len(hosts) != 1 {
		return control.Host{}, fmt.Errorf("status printed %q: %w", out, err)
	}
	return hosts[0], nil
}

// until waits for a host's record to be as wanted, and returns it.
func (c *cluster) until(host string, limit time.Duration, what string, is func(control.Host) bool) control.Host {
	c.Helper()
	var last control.Host
	c.must(lab.Wait(c.Context(), limit, "the record of "+host+": "+what, func(context.Context) error {
		h, err := c.record(host)
		if err != nil {
			return err
		}
		if last = h; !is(h) {
			return fmt.Errorf("%+v", h)
		}
		return nil
	}))
	return last
}

func (c *cluster) evacuated(host string) control.Host {
	c.Helper()
	return c.until(host, 3*time.Minute, "to be evacuated", func(h control.Host) bool { return h.Phase == "evacuated" || h.Phase == "returning" })
}

// owner waits until somebody carries a host and has moved at least n instances.
func (c *cluster) owner(host string, n int) string {
	c.Helper()
	return c.until(host, time.Minute, fmt.Sprintf("to have an owner and %d done", n),
		func(h control.Host) bool { return h.Owner != "" && h.Done >= n }).Owner
}

// fresh puts everything back: nodes on, resources running, no record, a new cloud
// with instances on hosts.
func (c *cluster) fresh(instances map[string]int) {
	c.Helper()
	nodes, err := c.Nodes()
	c.must(err)
	for _, node := range nodes {
		c.must(c.Power(c.Context(), "on", node))
	}
	_, err = c.alive("crm_resource", "--cleanup")
	c.must(err)
	c.must(c.WaitOnline(c.Context()))
	_, err = c.alive("crm_resource", "--wait", "--timeout", "50s")
	c.must(err)
	c.must(lab.Wait(c.Context(), time.Minute, "all supervisors to run", func(context.Context) error {
		for _, node := range lab.Controllers {
			if _, err := c.Exec(c.Context(), node, "nova-evac", "ocf", "monitor"); err != nil {
				return err
			}
		}
		return nil
	}))
	args := []string{"--rebuild-time", "5s", "--resume-guests"}
	for host, n := range instances {
		args = append(args, "--instances", fmt.Sprintf("%s=%d", host, n))
	}
	c.must(c.RestartNovasim(c.Context(), args...))
	// Only now: from what the old cloud knew of its hosts the records would be written again.
	_, err = c.alive("cibadmin", "--delete", "--xpath", "//cluster_property_set[@id='nova-evac']")
	c.must(err)
}

// check has the simulated cloud say that no harm was done, and that every instance
// runs on a host that is not one of the dead.
func (c *cluster) check(instances int, dead ...string) {
	c.Helper()
	r, err := c.sim.Check(c.Context())
	c.must(err)
	for _, b := range r.Breaches {
		c.Errorf("%s: instance %s: %s", b.Kind, b.Instance, b.What)
	}
	if r.Running != instances {
		c.Errorf("%d of %d instances run: %+v", r.Running, instances, r)
	}
	for _, host := range dead {
		if r.OnHost[host] != 0 {
			c.Errorf("%d instances run on %s, which is dead", r.OnHost[host], host)
		}
	}
}

// once has it say besides that Nova accepted one evacuation of each instance.
func (c *cluster) once(instances int) {
	c.Helper()
	r, err := c.sim.Check(c.Context())
	c.must(err)
	if r.MostAccepted != 1 || r.Evacuated != instances {
		c.Errorf("Nova accepted up to %d evacuations of one instance, and %d of %d have arrived", r.MostAccepted, r.Evacuated, instances)
	}
}

// signal sends a signal to the supervisor of a controller.
func (c *cluster) signal(node, signal string) {
	c.Helper()
	_, err := c.Exec(c.Context(), node, "pkill", "-"+signal, "-f", "^/usr/sbin/nova-evac supervise")
	c.must(err)
}

func (c *cluster) dc() string {
	c.Helper()
	out, err := c.alive("crmadmin", "--dc_lookup")
	c.must(err)
	for _, node := range lab.Controllers {
		if strings.Contains(out, node) {
			return node
		}
	}
	c.Fatalf("crmadmin named no controller: %s", out)
	return ""
}

const instances = 60

func TestClusterWithSimulatedCloud(t *testing.T) {
	c := up(t, lab.Novasim, 3)
	one := map[string]int{"compute-1": instances}
	run := func(name string, with map[string]int, test func(c *cluster)) {
		c.Run(name, func(t *testing.T) {
			c := &cluster{T: t, Lab: c.Lab, sim: c.sim}
			start := time.Now()
			c.fresh(with)
			prepared := time.Now()
			test(c)
			t.Logf("prepared in %v, took %v", prepared.Sub(start).Round(time.Second), time.Since(prepared).Round(time.Second))
		})
	}

	c.Run("agents", func(t *testing.T) { agents(t, c) })
	c.Run("pcs makes of its example what crmsh makes of its own", func(t *testing.T) { examples(t, c) })

	run("a host loses its power and its instances come back", one, func(c *cluster) {
		c.must(c.Kill(c.Context(), "compute-1", "power"))
		var phases []string
		h := c.until("compute-1", 2*time.Minute, "to be evacuated", func(h control.Host) bool {
			if len(phases) == 0 || phases[len(phases)-1] != h.Phase {
				phases = append(phases, h.Phase)
			}
			return h.Phase == "evacuated"
		})
		if h.Gen != 1 || h.Done != instances || h.Total != instances || h.Failed+h.Skipped != 0 || h.Owner != "" {
			c.Errorf("%+v", h)
		}
		if !slices.Contains(phases, "evacuating") {
			c.Errorf("the record went through %v", phases)
		}
		out, err := c.alive("crm", "configure", "show", "nova-evac")
		c.must(err)
		if !strings.Contains(out, `host-compute-1="phase=evacuated gen=1`) {
			c.Errorf("crm configure show: %s", out)
		}
		c.check(instances, "compute-1")
		c.once(instances)
	})

	// What befalls the owner when a third is done, and what the tests that need no
	// word about it share: another one finishes, and nothing was sent twice.
	for _, trouble := range []struct {
		name string
		do   func(c *cluster, owner string)
	}{
		{"the owner's controller loses power", func(c *cluster, owner string) { c.must(c.Kill(c.Context(), owner, "power")); c.takeover(owner) }},
		{"the supervisor is killed", func(c *cluster, owner string) { c.signal(owner, "KILL") }},
		{"the supervisor hangs", func(c *cluster, owner string) { c.signal(owner, "STOP") }},
		{"the owner's cable is pulled", func(c *cluster, owner string) { c.must(c.Kill(c.Context(), owner, "unplug")); c.takeover(owner) }},
		{"the DC is killed", func(c *cluster, _ string) { c.must(c.Kill(c.Context(), c.dc(), "crash")) }},
		{"the resource is stopped and started", func(c *cluster, _ string) {
			_, err := c.alive("crm", "resource", "stop", "nova-evacuate-clone")
			c.must(err)
			// Not crm --wait: crmsh 5.0 asks systemd whether Pacemaker runs, and the lab has none.
			_, err = c.alive("crm_resource", "--wait", "--timeout", "50s")
			c.must(err)
			if h, err := c.record("compute-1"); err != nil || h.Owner != "" {
				c.Errorf("stopped in good order, and the claim was not released: %+v, %v", h, err)
			}
			_, err = c.alive("crm", "resource", "start", "nova-evacuate-clone")
			c.must(err)
		}},
		{"the resource is banned from the owner's node", func(c *cluster, owner string) {
			_, err := c.alive("crm_resource", "--ban", "--resource", "nova-evacuate-clone", "--node", owner)
			c.must(err)
			c.Cleanup(func() {
				// The test's own context has ended.
				_, err := c.Lab.Exec(context.Background(), "ctl1", "crm_resource", "--clear", "--resource", "nova-evacuate-clone")
				c.must(err)
			})
			c.until("compute-1", time.Minute, "to have another owner", func(h control.Host) bool { return h.Owner != owner && h.Owner != "" || h.Phase == "evacuated" })
		}},
		{"all three controllers lose power at once", func(c *cluster, _ string) {
			for _, node := range lab.Controllers {
				c.must(c.Kill(c.Context(), node, "power"))
			}
			for _, node := range lab.Controllers {
				c.must(c.Power(c.Context(), "on", node))
			}
		}},
		{"Keystone answers 503 for a minute and no token is valid", func(c *cluster, _ string) {
			_, err := c.sim.AddFault(c.Context(), simcontrol.Fault{Match: simcontrol.Match{Kind: "keystone"}, Status: 503, For: "60s"})
			c.must(err)
			c.must(c.sim.RevokeTokens(c.Context()))
		}},
	} {
		run(trouble.name+" half-way", one, func(c *cluster) {
			c.must(c.Kill(c.Context(), "compute-1", "crash"))
			owner := c.owner("compute-1", instances/4)
			trouble.do(c, owner)
			if h := c.evacuated("compute-1"); h.Done != instances || h.Total != instances {
				c.Errorf("%+v", h)
			}
			c.check(instances)
			c.once(instances)
		})
	}

	run("Keystone answers 503 during the fencing", one, func(c *cluster) {
		_, err := c.sim.AddFault(c.Context(), simcontrol.Fault{Match: simcontrol.Match{Kind: "keystone"}, Status: 503, For: "20s"})
		c.must(err)
		c.must(c.sim.RevokeTokens(c.Context()))
		c.must(c.Kill(c.Context(), "compute-1", "crash"))
		c.until("compute-1", 30*time.Second, "to say what it waits for", func(h control.Host) bool { return strings.Contains(h.WaitingFor, "503") })
		c.evacuated("compute-1")
		c.check(instances)
		c.once(instances)
	})

	run("two hosts die at once", map[string]int{"compute-1": 30, "compute-2": 30}, func(c *cluster) {
		c.must(c.Kill(c.Context(), "compute-1", "crash"))
		c.must(c.Kill(c.Context(), "compute-2", "crash"))
		c.evacuated("compute-1")
		c.evacuated("compute-2")
		c.check(60)
	})

	run("a host dies while it is receiving instances", map[string]int{"compute-1": 40, "compute-2": 5}, func(c *cluster) {
		c.must(c.Kill(c.Context(), "compute-1", "crash"))
		c.owner("compute-1", 5)
		c.must(c.Kill(c.Context(), "compute-2", "crash"))
		c.evacuated("compute-1")
		c.evacuated("compute-2")
		c.check(45)
	})

	returns(run) // last: it leaves resources behind
}

// takeover reports how long it took from the moment that the owner was offline and
// clean to the first evacuation that somebody else sent. Rule: no test fails by time.
func (c *cluster) takeover(owner string) {
	c.Helper()
	c.must(c.WaitFenced(c.Context(), owner))
	fenced := time.Now()
	c.must(lab.Wait(c.Context(), 30*time.Second, "a new owner's first request", func(ctx context.Context) error {
		requests, err := c.sim.Requests(ctx)
		if err != nil {
			return err
		}
		for _, r := range requests.Evacuations {
			if !strings.Contains(r.UserAgent, owner) {
				c.Logf("the new owner's first evacuation: %v after the old one was seen offline and clean", time.Unix(0, r.At).Sub(fenced).Round(10*time.Millisecond))
				return nil
			}
		}
		return fmt.Errorf("%d requests, none of them", len(requests.Evacuations))
	}))
}
