package nova

import (
	"testing"
	"time"
)

func TestAPulseIsMoreThanOurOwnRequests(t *testing.T) {
	t0 := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name  string
		moves []int // the seconds at which updated_at moves
		want  bool
	}{
		{"silence", nil, false},
		{"what we told Nova ourselves", []int{5, 6, 7}, false},
		{"one heartbeat", []int{10}, false},
		{"heartbeats", []int{10, 20, 30}, true},
		{"heartbeats that have ended", []int{10, 20, 30, 40}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, service, got := Pulse{}, Service{Host: "compute-1", Updated: t0}, false
			end := 35
			if len(c.moves) > 3 {
				end = 140
			}
			for second := range end {
				for _, at := range c.moves {
					if at == second {
						service.Updated = t0.Add(time.Duration(second) * time.Second)
					}
				}
				got = p.Feel(service, t0, t0.Add(time.Duration(second)*time.Second))
			}
			if got != c.want {
				t.Error(got)
			}
			if p.Feel(service, t0.Add(time.Hour), t0.Add(time.Duration(end)*time.Second)) {
				t.Error("alive at once after another fencing")
			}
		})
	}
}
