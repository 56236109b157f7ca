package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/pkg/control"
	"github.com/nova-evac/nova-evac/test/e2e/lab"
)

// TestStorm has six of ten compute hosts die at once: one more than may be down.
func TestStorm(t *testing.T) {
	c := up(t, lab.Novasim, 9)
	with := map[string]int{}
	for n := range 6 {
		with[fmt.Sprintf("compute-%d", n+1)] = 10
	}
	dead := slices.Sorted(maps.Keys(with))
	c.fresh(with)
	died := time.Now()
	for _, host := range dead {
		c.must(c.Kill(c.Context(), host, "power"))
	}
	c.must(c.WaitFenced(c.Context(), dead...))
	t.Logf("six hosts are fenced %v after they died", time.Since(died).Round(time.Second))
	for _, host := range dead {
		c.until(host, time.Minute, "to be held", func(h control.Host) bool {
			return h.Phase == "held" && strings.Contains(h.WaitingFor, "6 of 10 compute hosts are down, more than storm_share=50%")
		})
	}
	r, err := c.sim.Check(c.Context())
	c.must(err)
	if r.MostAccepted > 0 {
		c.Errorf("something was evacuated in the storm: %+v", r)
	}

	_, err = c.alive("nova-evac", "resume", dead[0])
	c.must(err)
	c.evacuated(dead[0])
	for _, host := range dead[1:] {
		if h, err := c.record(host); err != nil || h.Phase != "held" {
			c.Errorf("only %s was resumed: %+v, %v", dead[0], h, err)
		}
	}

	// It is powered on, and with it back 5 of 10 are down, as many as may be.
	for _, host := range dead[1:] {
		c.evacuated(host)
	}
	c.check(60)
	c.once(60)
	for _, host := range dead {
		c.letIn(host)
	}
	c.check(60)
}
