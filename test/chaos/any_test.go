package chaos

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/pkg/evacuate"
	"github.com/nova-evac/nova-evac/pkg/history"
	"github.com/nova-evac/nova-evac/pkg/nova"
)

// drawn draws looks at Nova that no cloud need ever show.
type drawn struct{ *rand.Rand }

func pick[T any](r drawn, of ...T) T { return of[r.IntN(len(of))] }

var began = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

// moment is one around the fencing or the present, near the bounds that matter.
func (r drawn) moment(around time.Time) time.Time {
	if r.IntN(8) == 0 {
		return time.Time{}
	}
	offsets := []time.Duration{0, time.Second, 2 * time.Second, 3 * time.Second, 4 * time.Second, 29 * time.Second, 30 * time.Second, 31 * time.Second, 59 * time.Second, time.Minute,
		61 * time.Second, 90 * time.Second, 91 * time.Second, 2 * time.Minute, 3 * time.Minute, 181 * time.Second, 15 * time.Minute, 901 * time.Second, 20 * time.Minute, 1201 * time.Second, time.Hour, 3601 * time.Second, 5 * time.Hour}
	return around.Add(pick(r, offsets...) * time.Duration(pick(r, -1, -1, 1))).Add(time.Duration(r.IntN(3)) * time.Second)
}

func (r drawn) look(skew time.Duration, now time.Time) history.Look {
	look := history.Look{Host: "src", Since: began, Now: now, Began: now.Add(-time.Duration(r.IntN(3)) * time.Second), Clock: history.Clock{Ahead: skew}, SeenOn: r.IntN(2) == 0, Back: map[string]bool{}}
	theirs := func() time.Time {
		if r.IntN(2) == 0 {
			return r.moment(now.Add(skew))
		}
		return r.moment(began.Add(skew))
	}
	for _, host := range []string{"src", "d1", "d2", "d3"} {
		if r.IntN(20) == 0 {
			continue
		}
		s := nova.Service{ID: host, Host: host, Up: r.IntN(2) == 0, Enabled: r.IntN(4) > 0, ForcedDown: r.IntN(3) == 0, Updated: theirs(), Partial: r.IntN(20) == 0}
		if host == "src" {
			s.ForcedDown = r.IntN(6) > 0
		}
		if s.ForcedDown {
			s.Up = false
			s.DisabledReason = pick(r, "", "memory is being tested", "nova-evac gen=1: fenced", fmt.Sprintf("nova-evac gen=1 since=%s claim=ctl1/a: fenced, being evacuated", r.moment(now).UTC().Format(time.RFC3339)))
		}
		look.Services, look.Back[host] = append(look.Services, s), r.IntN(3) == 0
	}
	for n := range r.IntN(5) {
		id := string(rune('e' - n))
		if r.IntN(6) > 0 {
			look.Servers = append(look.Servers, nova.Server{ID: id, Name: pick(r, "", "vm-"+id), Host: "src", VMState: pick(r, "active", "stopped", "error", "error", "paused", ""),
				TaskState: pick(r, "", "", "rebuilding", "rebuild_spawning", "deleting", "powering-off"), Fault: pick(r, "", "No valid host was found.", "Instance x already exists."),
				Updated: theirs(), Partial: r.IntN(20) == 0})
		}
		for range r.IntN(4) {
			m := nova.Migration{ID: len(look.Evacuations) + 1, Instance: id, Source: pick(r, "src", "src", "src", "src", "d1"), Dest: pick(r, "", "d1", "d2", "d3", "gone"),
				Status: pick(r, nova.StatusAccepted, nova.StatusAccepted, nova.StatusPreMigrating, nova.StatusPreMigrating, nova.StatusDone, nova.StatusCompleted, nova.StatusCompleted, nova.StatusError, nova.StatusFailed, "confirmed"), Created: theirs(), Updated: theirs()}
			if m.Source == "d1" {
				m.Dest = "src"
			}
			look.Evacuations = append(look.Evacuations, m)
		}
	}
	r.Shuffle(len(look.Evacuations), func(a, b int) {
		look.Evacuations[a], look.Evacuations[b] = look.Evacuations[b], look.Evacuations[a]
	})
	return look
}

func TestTheFormerEngineDecidesTheSameOfAnyLook(t *testing.T) {
	defer sayHowManyLooksWereCompared(t)
	r := drawn{rand.New(rand.NewPCG(1, 1))}
	for range 400_000 {
		skew := pick(r, 0, 0, time.Hour, -time.Hour, 7*time.Second)
		now := began.Add(pick(r, time.Second, time.Minute, 4*time.Minute, 25*time.Minute, 2*time.Hour))
		c := evacuate.Comparison{Policy: evacuate.Policy{MaxInFlight: 1 + r.IntN(5), APITime: time.Minute, RetryMin: 5 * time.Second, RetryMax: time.Minute, LeaveError: r.IntN(4) == 0, ResetStates: pick(r, nil, []string{"paused"})}}
		c.Asked = r.look(skew, now)
		c.Prior = map[string]evacuate.Attempt{}
		for _, id := range []string{"a", "b", "c", "d", "e"} {
			if r.IntN(3) == 0 {
				a := evacuate.Attempt{Pending: r.IntN(6) == 0, Answered: r.moment(now), LastRecord: r.IntN(8), Over: r.IntN(2) == 0, Failures: r.IntN(3), Stop: r.IntN(4) == 0}
				if r.IntN(3) == 0 {
					a.NotBefore = r.moment(now)
				}
				if r.IntN(3) == 0 {
					a.UnknownUntil = r.moment(now)
				}
				if r.IntN(3) == 0 {
					a.Refused, a.Err = true, "refused"
				}
				c.Prior[id] = a
			}
		}
		s := evacuate.Situation{Now: now, Reason: "nova-evac gen=1: fenced", WasDown: r.IntN(2) == 0, Beat: pick(r, nova.Silent, nova.Moved, nova.Alive), FailedOnRecord: r.IntN(4),
			Source: evacuate.SourceOff, History: history.Read(c.Asked), Attempts: maps.Clone(c.Prior)}
		if c.Asked.SeenOn {
			s.Source = pick(r, evacuate.SourceGated, evacuate.SourceGated, evacuate.SourceUnsure, evacuate.SourceOn, evacuate.SourceRuns)
		}
		if r.IntN(3) == 0 {
			s.Doubt, s.DoubtUntil = r.IntN(5), now.Add(pick(r, 0, time.Second, -time.Second))
		}
		c.First = evacuate.Learn(s, c.Policy)
		c.Retried = maps.Clone(c.First)
		for id, a := range c.Retried {
			if r.IntN(4) == 0 {
				a.NotBefore = time.Time{}
				c.Retried[id] = a
			}
		}
		s.Attempts = maps.Clone(c.Retried)
		c.Questions, c.Answered = evacuate.Ask(s, c.Policy), c.Asked
		if len(c.Questions.Headed)+len(c.Questions.Trace) > 0 {
			c.Answered.Headed, c.Answered.Courses = map[string][]string{}, map[int]nova.Course{}
			for _, id := range c.Questions.Headed {
				c.Answered.Headed[id] = pick(r, nil, []string{"src"}, []string{"src", "d1"}, []string{"d2", "src"}, []string{"src", "d1", "d2"}, []string{"d3", "src"}, []string{"d1"})
			}
			for _, m := range c.Questions.Trace {
				course := nova.Course{Failed: r.IntN(6) == 0, Err: pick(r, "", "", "", "MessagingTimeout")}
				for _, at := range []*time.Time{&course.Sent, &course.Taken, &course.Ended} {
					if r.IntN(2) == 0 {
						break
					}
					*at = r.moment(pick(r, now, began).Add(skew))
				}
				c.Answered.Courses[m.ID] = course
			}
			s.History = history.Read(c.Answered)
			s.Attempts = evacuate.Learn(s, c.Policy)
		}
		plan := evacuate.Decide(s, c.Policy)
		c.Situation, c.Plan, c.Words = s, plan, evacuate.Words(plan, s)
		compare(c)
	}
}
