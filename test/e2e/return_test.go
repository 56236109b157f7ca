package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/pkg/control"
	"github.com/nova-evac/nova-evac/pkg/novasim"
	"github.com/nova-evac/nova-evac/test/e2e/lab"
)

// gateForLab is the example of the gate, as the lab can load it: it has no systemd.
func gateForLab(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../../crm-examples/nova-compute-gate.crm")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "gate.crm")
	text := strings.ReplaceAll(string(data), "systemd:nova-compute", "ocf:pacemaker:Dummy")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// gated has compute hosts that are powered on start nova-compute behind the gate, for the
// time of the test.
func (c *cluster) gated() {
	c.Helper()
	c.must(c.Gate(c.Context(), true))
	c.Cleanup(func() { c.must(c.Gate(context.Background(), false)) })
}

// host is a compute host, as the simulated cloud knows it.
func (c *cluster) host(name string) novasim.HostState {
	c.Helper()
	state, err := c.sim.State(c.Context())
	c.must(err)
	for _, h := range state.Hosts {
		if h.Name == name {
			return h
		}
	}
	c.Fatalf("the cloud has no host %s", name)
	return novasim.HostState{}
}

// disable is what an operator does before maintenance.
func (c *cluster) disable(host, reason string) {
	c.Helper()
	c.is("disable", c.nova().do(c, http.MethodPut, "/os-services/"+c.novaService(host).ID,
		fmt.Sprintf(`{"status":"disabled","disabled_reason":%q}`, reason)), http.StatusOK)
}

// statusWithout fails, with what nova-evac status says, while that has a text in it.
func (c *cluster) statusWithout(text string) error {
	out, err := c.alive("nova-evac", "status")
	if err == nil && strings.Contains(out, text) {
		err = errors.New(out)
	}
	return err
}

// letIn waits until a host has no record any more, and looks at something meanwhile.
func (c *cluster) letIn(host string, look ...func()) {
	c.Helper()
	c.must(lab.Wait(c.Context(), 3*time.Minute, host+" to be let in", func(context.Context) error {
		for _, do := range look {
			do()
		}
		return c.statusWithout(host + " ")
	}))
}

// returns is what is tried of the way back with the simulated cloud.
func returns(run func(name string, with map[string]int, test func(c *cluster))) {
	run("a host that an operator has disabled comes back disabled, without a gate", map[string]int{"compute-2": 10}, func(c *cluster) {
		c.disable("compute-2", "memory is being tested")
		c.must(c.Kill(c.Context(), "compute-2", "power"))
		c.evacuated("compute-2")
		c.letInAfterRestarts("compute-2")
		if h := c.host("compute-2"); !h.Up || h.Status != "disabled" || h.ForcedDown || h.DisabledReason != "memory is being tested" {
			c.Errorf("%+v", h)
		}
		c.check(10)
		c.once(10)
	})

	run("an operator has a host fenced, holds, resumes, forgets and admits, and maintenance mode is kept", map[string]int{"compute-1": 30, "compute-2": 8}, operates)

	run("the minority's CIB wins at the merge of a partition, and the record it lacks is back", map[string]int{"compute-1": 40}, func(c *cluster) {
		// ctl3 is cut off and cannot be fenced; it goes on writing to its own copy of the CIB.
		bmc := func(ctx context.Context, command string) {
			_, err := c.Exec(ctx, "ctl1", "bash", "-c", "exec 3<>/dev/tcp/bmc/6230; echo '"+command+"' >&3; read -t 10 a <&3; [ \"$a\" = OK ]")
			c.must(err)
		}
		bmc(c.Context(), "fail ctl3 600")
		c.Cleanup(func() { bmc(context.Background(), "fail ctl3 0") })
		c.must(c.Kill(c.Context(), "ctl3", "unplug"))
		c.must(lab.Wait(c.Context(), time.Minute, "the others to miss ctl3", func(ctx context.Context) error {
			nodes, err := c.State(ctx)
			if err == nil && nodes["ctl3"].Online {
				err = errors.New("it is online")
			}
			return err
		}))
		c.must(c.Kill(c.Context(), "compute-1", "power"))
		before := c.until("compute-1", time.Minute, "to have an owner and some done", func(h control.Host) bool { return h.Owner != "" && h.Done > 0 })
		const marker = "written-by-the-minority"
		_, err := c.Exec(c.Context(), "ctl3", "bash", "-c", "for n in {1..100}; do crm_attribute --type crm_config --set-name lab --name "+marker+" --update $n; done")
		c.must(err)
		c.must(c.Kill(c.Context(), "ctl3", "replug"))
		c.must(lab.Wait(c.Context(), 2*time.Minute, "the minority's CIB to win", func(context.Context) error {
			_, err := c.Exec(c.Context(), "ctl1", "cibadmin", "--query", "--xpath", "//nvpair[@name='"+marker+"' and @value='100']")
			return err
		}))
		merged := time.Now()
		back := c.until("compute-1", time.Minute, "to be back", func(h control.Host) bool { return h.Gen == before.Gen && h.Since.Equal(before.Since) })
		c.Logf("the record, %s, is there %v after the merge", back.Phase, time.Since(merged).Round(100*time.Millisecond))
		c.evacuated("compute-1")
		c.check(40)
		c.once(40)
		_, err = c.alive("cibadmin", "--delete", "--xpath", "//nvpair[@name='"+marker+"']")
		c.must(err)
	})

	run("the gate holds nova-compute back until the instances have left, and the host is let in", map[string]int{"compute-1": 40}, func(c *cluster) {
		c.must(c.LoadConfig(c.Context(), gateForLab(c.T)))
		c.gated()
		c.must(c.Kill(c.Context(), "compute-1", "power"))
		early := 0
		c.until("compute-1", 2*time.Minute, "to be evacuated", func(h control.Host) bool {
			on, err := c.alive("crm_resource", "--resource", "nova-compute-clone", "--locate")
			c.must(err)
			done := h.Phase == "evacuated" || h.Phase == "returning"
			if !done && (c.host("compute-1").Compute != "stopped" || strings.Contains(on, "compute-1") && h.Done > 0) {
				early++
			}
			return done
		})
		if early > 0 {
			c.Error("nova-compute ran while instances had not left")
		}
		c.letIn("compute-1")
		if h := c.host("compute-1"); !h.Up || h.Status != "enabled" || h.ForcedDown || h.DisabledReason != "" {
			c.Errorf("%+v", h)
		}
		c.must(lab.Wait(c.Context(), time.Minute, "Pacemaker to start nova-compute", func(context.Context) error {
			out, err := c.alive("crm_resource", "--resource", "nova-compute-clone", "--locate")
			if err == nil && !strings.Contains(out, "compute-1") {
				err = errors.New(out)
			}
			return err
		}))
		c.check(40)
		c.once(40)
	})
}

// operates is what an operator does by hand.
func operates(c *cluster) {
	say := func(args ...string) string {
		c.Helper()
		out, err := c.alive(append([]string{"nova-evac"}, args...)...)
		c.must(err)
		return out
	}
	if out, err := c.Exec(c.Context(), "ctl1", "nova-evac", "host", "compute-2"); err == nil || !strings.Contains(err.Error(), "its nova-compute is up") {
		c.Errorf("a host that runs is evacuated: %s, %v", out, err)
	}
	out := say("host", "--fence", "compute-2")
	if !strings.Contains(out, "8 of 8") {
		c.Errorf("fenced and evacuated: %s", out)
	}
	c.must(lab.Wait(c.Context(), time.Minute, "compute-2 to be powered on", func(context.Context) error {
		if h := c.host("compute-2"); h.Power != "on" {
			return fmt.Errorf("%+v", h)
		}
		return nil
	}))
	c.restart("compute-2") // it may have started before its last instance had left
	say("admit", "--yes", "compute-2")
	if h := c.host("compute-2"); !h.Up || h.Status != "enabled" || h.ForcedDown {
		c.Errorf("admitted: %+v", h)
	}

	c.must(c.Kill(c.Context(), "compute-1", "power"))
	c.owner("compute-1", 5)
	say("hold", "compute-1", "--reason", "the storage is being looked at")
	h := c.until("compute-1", time.Minute, "to be held", func(h control.Host) bool { return h.Phase == "held" && h.Owner == "" })
	if !strings.Contains(h.WaitingFor, "the storage is being looked at") || h.Done == h.Total {
		c.Errorf("held: %+v", h)
	}
	say("resume", "compute-1")
	c.evacuated("compute-1")
	say("forget", "--yes", "compute-1")
	c.must(c.statusWithout("compute-1 "))
	if h := c.host("compute-1"); !h.ForcedDown || h.Status != "disabled" || strings.HasPrefix(h.DisabledReason, "nova-evac gen=") {
		c.Errorf("forgotten: %+v", h)
	}
	c.check(38)
	c.once(38)

	maintain := func(ctx context.Context, value string) {
		_, err := c.Exec(ctx, "ctl1", "crm_attribute", "--name", "maintenance-mode", "--update", value)
		c.must(err)
	}
	maintain(c.Context(), "true")
	c.Cleanup(func() { maintain(context.Background(), "false") })
	c.must(c.Kill(c.Context(), "compute-3", "power"))
	say("host", "--i-have-powered-it-off", "--detach", "compute-3")
	c.until("compute-3", time.Minute, "to be held", func(h control.Host) bool {
		return h.Phase == "held" && strings.Contains(h.WaitingFor, "the cluster to leave its maintenance mode")
	})
	maintain(c.Context(), "false")
	c.evacuated("compute-3")
	c.check(38)
}

// letInAfterRestarts waits as letIn does, and restarts nova-compute when the record says so.
func (c *cluster) letInAfterRestarts(host string) {
	c.Helper()
	c.must(lab.Wait(c.Context(), 4*time.Minute, host+" to be let in", func(context.Context) error {
		err := c.statusWithout(host + " ")
		if err != nil && strings.Contains(err.Error(), "nova-compute to be restarted on "+host) {
			c.restart(host)
			c.must(lab.Wait(c.Context(), time.Minute, "the record to go on", func(context.Context) error {
				return c.statusWithout("to be restarted on " + host)
			}))
		}
		return err
	}))
}

// restart restarts nova-compute of a host of the simulated cloud.
func (c *cluster) restart(host string) {
	c.Helper()
	for _, action := range []string{"kill", "start"} {
		c.must(c.sim.ChangeHost(c.Context(), host, novasim.HostChange{Compute: action}))
	}
}
