package api

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/pkg/novasim"
	"github.com/nova-evac/nova-evac/pkg/novasim/control"
)

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name    string
		fault   control.Fault
		answer  string
		code    int
		effects int
		replied bool
	}{
		{"none", control.Fault{Match: control.Match{Kind: "migrations"}, Status: 503}, "200", 200, 1, true},
		{"a status has no effect", control.Fault{Match: control.Match{Kind: "evacuate"}, Status: 503}, "503", 0, 0, true},
		{"a 401 has none either", control.Fault{Match: control.Match{Kind: "evacuate"}, Status: 401}, "401", 0, 0, true},
		{"a cut before has no effect", control.Fault{Match: control.Match{Kind: "evacuate"}, Cut: "before"}, "cut", 0, 0, false},
		{"a cut after has its effect", control.Fault{Match: control.Match{Kind: "evacuate"}, Cut: "after"}, "cut", 200, 1, false},
		{"a hang has no effect", control.Fault{Match: control.Match{Kind: "*"}, Hang: true}, "timeout", 0, 0, false},
		{"a latency has its effect", control.Fault{Match: control.Match{Path: "/action$"}, Latency: "20ms"}, "200", 200, 1, true},
		{"another path is not struck", control.Fault{Match: control.Match{Path: "/detail$"}, Status: 503}, "200", 200, 1, true},
		{"a fault that is over does not strike", control.Fault{Status: 503, For: "0s"}, "200", 200, 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctl, client, id := dead(t)
			must[int](t)(ctl.AddFault(t.Context(), c.fault))
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
			if err := ctl.ClearFaults(t.Context()); err != nil {
				t.Fatal(err)
			}
			if c.effects > 0 {
				must[novasim.Report](t)(ctl.WaitEvacuated(t.Context(), 1, 10*time.Second))
			}
			sent := must[control.Requests](t)(ctl.Requests(t.Context())).Evacuations
			if len(sent) != 1 || sent[0].Instance != id || sent[0].Code != c.code || sent[0].Answered != c.replied || sent[0].UserAgent != "tester" ||
				sent[0].Remote == "" || time.Since(time.Unix(0, sent[0].At)) > time.Minute {
				t.Errorf("sent: %+v", sent)
			}
			if got := must[novasim.Report](t)(ctl.Check(t.Context())).MostAccepted; got != c.effects {
				t.Errorf("%d accepted", got)
			}
		})
	}
}

func TestAFaultStrikesAsOftenAsItShould(t *testing.T) {
	s := newSim(t, func(_ *novasim.Config, c *Config) { c.TokenLifetime = 1e6 * time.Hour })
	add := func(f control.Fault) int { return must[int](t)(s.server.AddFault(f)) }
	struck := func(n int) (all int) {
		for range n {
			if s.do("GET", "/v2.1/os-services", "").Code == 503 {
				all++
			}
		}
		return all
	}
	add(control.Fault{Match: control.Match{Kind: "services"}, Status: 503, Count: 2})
	s.is("a count of 2", fmt.Sprint(struck(5)), "2")
	add(control.Fault{Status: 503, For: "60s"})
	s.pass(59 * time.Second)
	s.is("within 60 s", fmt.Sprint(struck(5)), "5")
	s.pass(time.Second)
	s.is("after 60 s", fmt.Sprint(struck(5)), "0")
	id := add(control.Fault{Status: 503})
	s.is("without an end", fmt.Sprint(struck(5)), "5")
	s.server.RemoveFault(id)
	s.is("removed", fmt.Sprint(struck(5)), "0")
	add(control.Fault{Status: 503, Probability: 0.25})
	if n := struck(1000); n < 180 || n > 320 {
		t.Errorf("a quarter of 1000 is not %d", n)
	}
	s.server.ClearFaults()
	s.is("cleared", fmt.Sprint(struck(5)), "0")
	for _, f := range []control.Fault{{}, {Status: 99}, {Cut: "off"}, {Latency: "x"}, {Latency: "-1s"}, {Hang: true, For: "x"}, {Hang: true, Match: control.Match{Kind: "nosuch"}}, {Hang: true, Match: control.Match{Path: "("}}} {
		if _, err := s.server.AddFault(f); err == nil {
			t.Errorf("%+v is accepted", f)
		}
	}
}
