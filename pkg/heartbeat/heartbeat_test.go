package heartbeat

import (
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/pkg/nova"
)

func TestHeartbeatsAreMoreThanOurOwnRequests(t *testing.T) {
	t0 := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name  string
		moves []int // the seconds at which updated_at moves
		want  Sign
	}{
		{"silence", nil, Silent},
		{"requests that show nothing else", []int{5, 6, 7}, Moved},
		{"one heartbeat", []int{10}, Moved},
		{"heartbeats", []int{10, 20, 30}, Alive},
		{"heartbeats that have ended", []int{10, 20, 30, 40}, Silent},
		{"a report_interval of a minute", []int{10, 70, 130}, Alive},
		{"a report_interval of a minute, between two", []int{10, 70, 130, 190}, Alive},
		{"two that are a minute apart", []int{10, 70}, Moved},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, service, got := Watch{}, nova.Service{Host: "compute-1", Updated: t0}, Silent
			end := 35
			if n := len(c.moves); n > 0 {
				end = max(end, c.moves[n-1]+50)
			}
			if c.want == Silent {
				end = 140
			}
			for second := range end {
				for _, at := range c.moves {
					if at == second {
						service.Updated = t0.Add(time.Duration(second) * time.Second)
					}
				}
				got = w.Look(service, t0, t0.Add(time.Duration(second)*time.Second))
			}
			if got != c.want {
				t.Error(got)
			}
			if w.Look(service, t0.Add(time.Hour), t0.Add(time.Duration(end)*time.Second)) != Silent {
				t.Error("alive at once after another fencing")
			}
		})
	}
}

func TestWhatNovaWasToldIsNoHeartbeat(t *testing.T) {
	t0 := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	w, s := Watch{}, nova.Service{Host: "compute-1", Updated: t0, Enabled: true}
	w.Look(s, t0, t0)
	for n, change := range []func(){
		func() { s.ForcedDown = true }, func() { s.Enabled = false }, func() { s.DisabledReason = "nova-evac gen=1" },
		func() { s.DisabledReason = "nova-evac gen=1 claim=ctl1/1" },
	} {
		change()
		at := t0.Add(time.Duration(n+1) * 10 * time.Second)
		s.Updated = at
		if got := w.Look(s, t0, at); got != Silent {
			t.Errorf("change %d: %v", n, got)
		}
	}
}
