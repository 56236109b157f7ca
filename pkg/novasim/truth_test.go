package novasim

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBreaches(t *testing.T) {
	for _, c := range []struct {
		name, want string
		do         func(s *sim, id string)
	}{
		{"an evacuation from a host that was only forced down splits the brain", "source_alive split_brain", func(s *sim, id string) {
			s.setForcedDown("compute-1", true)
			s.accepted(id, "compute-2")
			s.pass(time.Minute)
		}},
		{"one from a host whose nova-compute alone is dead does so, too", "source_alive split_brain", func(s *sim, id string) {
			s.host("compute-1", HostChange{Compute: "kill"})
			s.pass(2 * time.Minute)
			s.accepted(id, "compute-2")
			s.pass(time.Minute)
		}},
		{"one from a host that was rebooted and held back is fine", "", func(s *sim, id string) {
			s.down("compute-1")
			s.host("compute-1", HostChange{Power: "on", Compute: "held"})
			s.accepted(id, "compute-2")
			s.pass(time.Minute)
		}},
		{"a second one before the scheduler is a double send", "double_send", func(s *sim, id string) {
			s.down("compute-1")
			s.accepted(id, "compute-2")
			s.accepted(id, "compute-2")
		}},
		{"a second one while the destination hangs is a double send", "double_send", func(s *sim, id string) {
			s.down("compute-1")
			s.host("compute-2", HostChange{Hang: new(true)})
			s.accepted(id, "compute-2")
			s.pass(time.Hour)
			s.accepted(id, "compute-3")
		}},
		{"a second one while the message waits for a host with power is a double send", "double_send", func(s *sim, id string) {
			s.down("compute-1")
			s.host("compute-2", HostChange{Compute: "kill"})
			s.accepted(id, "compute-2")
			s.pass(10 * time.Second)
			s.accepted(id, "compute-3")
		}},
		{"but not where the destination has no power", "", func(s *sim, id string) {
			s.down("compute-1")
			s.accepted(id, "compute-2")
			s.pass(4 * time.Second)
			s.host("compute-2", HostChange{Power: "off"})
			s.accepted(id, "compute-3")
			s.pass(time.Minute)
		}},
		{"nor after a failure", "", func(s *sim, id string) {
			s.down("compute-1")
			s.host("compute-2", HostChange{Fail: new("boom")})
			s.accepted(id, "compute-2")
			s.pass(time.Minute)
			s.accepted(id, "compute-3")
			s.pass(time.Minute)
		}},
		{"a split brain is noted even if it is over", "double_send split_brain", func(s *sim, id string) {
			s.down("compute-1")
			s.accepted(id, "compute-2")
			s.pass(4 * time.Second)
			s.accepted(id, "compute-3")
			s.pass(time.Minute)
			s.host("compute-2", HostChange{Power: "off"})
		}},
		{"an instance whose host is dead waits and is not lost", "", func(s *sim, id string) {
			s.down("compute-1")
			s.pass(time.Hour)
			if r := s.cloud.Report(); r.Waiting != 1 {
				s.t.Errorf("report: %+v", r)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSim(t, nil)
			c.do(s, s.boot("compute-1"))
			s.is("breaches", s.breaches(), c.want)
		})
	}
}

// The cloud's bookkeeping holds after any sequence of changes: every instance is counted
// once, slots are neither lost nor made, and no instance is evacuated without a request.
func TestTheBookkeepingHolds(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := newSim(t, func(c *Config) {
			c.Hosts, c.RebuildLimit = []string{"a", "b", "c"}, rapid.IntRange(0, 2).Draw(r, "limit")
			c.Instances = []Batch{{Host: "a", Count: 3}, {Host: "b", Count: 2}}
		})
		var ids []string
		for _, i := range s.cloud.State().Instances {
			ids = append(ids, i.ID)
		}
		host := rapid.SampledFrom(s.cloud.cfg.Hosts)
		accepted := 0
		r.Repeat(map[string]func(*rapid.T){
			"pass": func(r *rapid.T) { s.pass(time.Duration(rapid.IntRange(0, 20).Draw(r, "seconds")) * time.Second) },
			"power": func(r *rapid.T) {
				s.host(host.Draw(r, "host"), HostChange{Power: rapid.SampledFrom([]string{"on", "off"}).Draw(r, "power")})
			},
			"compute": func(r *rapid.T) {
				// A change that makes no sense is refused, and has no effect.
				_ = s.cloud.ChangeHost(host.Draw(r, "host"), HostChange{Compute: rapid.SampledFrom([]string{"start", "stop", "kill"}).Draw(r, "compute")})
			},
			"trouble": func(r *rapid.T) {
				s.host(host.Draw(r, "host"), HostChange{Hang: new(rapid.Bool().Draw(r, "hang")), Fail: new(rapid.SampledFrom([]string{"", "boom"}).Draw(r, "fail"))})
			},
			"service": func(r *rapid.T) {
				s.setForcedDown(host.Draw(r, "host"), rapid.Bool().Draw(r, "forced"))
			},
			"evacuate": func(r *rapid.T) {
				if s.evacuate(rapid.SampledFrom(ids).Draw(r, "instance"), "") == "ok" {
					accepted++
				}
			},
			"action": func(r *rapid.T) {
				id := rapid.SampledFrom(ids).Draw(r, "instance")
				switch rapid.SampledFrom([]string{"stop", "start", "reset"}).Draw(r, "action") {
				case "stop":
					_ = s.cloud.Stop(id, "")
				case "start":
					_ = s.cloud.Start(id, "")
				case "reset":
					_ = s.cloud.ResetState(id, "error", "")
				}
			},
			"delete": func(r *rapid.T) { _ = s.cloud.Delete(rapid.SampledFrom(ids).Draw(r, "instance")) },
			"": func(r *rapid.T) {
				report, state := s.cloud.Report(), s.cloud.State()
				lost := 0
				for _, b := range report.Breaches {
					if b.Kind == Lost {
						lost++
					}
				}
				if n := report.Running + report.InProgress + report.Waiting + report.Off + report.Astray + lost; n != report.Instances {
					r.Fatalf("%d of %d instances counted: %+v", n, report.Instances, report)
				}
				sum := 0
				for _, i := range state.Instances {
					sum += i.Accepted
				}
				if sum != accepted {
					r.Fatalf("%d accepted, %d counted", accepted, sum)
				}
				for _, h := range state.Hosts {
					busy := 0
					for _, a := range s.attempts() {
						if a.stage == working && a.event != nil && a.dest.name == h.Name && a.running() {
							busy++
						}
					}
					limit := s.cloud.cfg.RebuildLimit
					if h.Rebuilding != busy || limit > 0 && h.Rebuilding > limit || limit > 0 && h.Waiting > 0 && h.Rebuilding == 0 {
						r.Fatalf("%s: %d slots taken by %d rebuilds of at most %d, %d wait", h.Name, h.Rebuilding, busy, limit, h.Waiting)
					}
					if h.Power == "off" && (len(h.Guests) > 0 || h.Compute != "stopped") {
						r.Fatalf("%s runs without power: %+v", h.Name, h)
					}
				}
			},
		})
	})
}

func (s *sim) attempts() (all []*attempt) {
	for _, i := range s.cloud.instances {
		all = append(all, i.attempts...)
	}
	return all
}
