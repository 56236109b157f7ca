package evacuate

import (
	"cmp"
	"time"

	"github.com/nova-evac/nova-evac/pkg/heartbeat"
	"github.com/nova-evac/nova-evac/pkg/ownership"
)

// Decide looks at a situation and says what to do. It is a pure function.
func Decide(s Situation, p Policy) Plan {
	plan := Plan{Service: s.History.Service, Done: s.History.Left, Begun: s.History.Evacuated}
	if !s.History.Listed {
		return Plan{}
	}
	for _, i := range s.History.Instances {
		plan.Instances = append(plan.Instances, judge(i, s, p))
	}
	doubt(&plan, s)
	decideHost(&plan, s)
	busy := busy(plan, s)
	plan.Sending = plan.Service.ForcedDown && !plan.ForceDown && s.Source.Safe() && plan.Count(Failed)-s.FailedOnRecord <= p.unrecorded()
	if plan.Sending {
		busy += send(&plan, s, p.MaxInFlight-busy)
	}
	plan.Settled = plan.Service.ForcedDown && !plan.ForceDown && busy == 0 && plan.Count(Waiting, Doubtful, Failed) == 0
	plan.Until = until(plan, s)
	return plan
}

// decideHost decides what is to be done about the host itself.
func decideHost(plan *Plan, s Situation) {
	service := plan.Service
	plan.Returned = !s.WasDown && (letIn(*plan) || s.History.Heard)
	plan.LetIn = plan.Returned && service.Up && s.Heartbeat == heartbeat.Alive && s.History.Whole
	disable, needed := ownership.Telling(service, s.Reason)
	plan.Disable, plan.ForceDown = disable, needed && !s.WasDown && !plan.Returned
	if service.ForcedDown && !s.Source.Safe() {
		plan.Held = plan.Count(Waiting, Failed, Doubtful)
	}
}

// letIn answers whether the host was let in, so that its record is one of the past.
// Evacuations of this generation show that it was forced down before, and it is up now.
// (Where Nova has only heard from it, and was not told that it is down, it was on again,
// unseen by us, and runs what it has.)
func letIn(plan Plan) bool { return !plan.Service.ForcedDown && plan.Service.Up && plan.Begun }

// busy counts the slots that are taken.
func busy(plan Plan, s Situation) int {
	n := plan.Count(Sent, Rebuilding)
	listed := map[string]bool{}
	for _, i := range plan.Instances {
		listed[i.ID] = true
		// A lost answer holds its slot too: it bounds what a next owner cannot see.
		if i.State == Doubtful && !s.Attempts[i.ID].UnknownUntil.IsZero() {
			n++
		}
	}
	// A request that is still under way for an instance that is not listed occupies its slot as
	// well: its answer alone says what became of it.
	for id, a := range s.Attempts {
		if a.Pending && !listed[id] {
			n++
		}
	}
	return n
}

// send puts into the plan what is to be sent now, into so many slots, and returns how many
// slots that takes.
func send(plan *Plan, s Situation, slots int) int {
	for n, i := range plan.Instances {
		if i.State == Waiting && len(plan.Send) < slots {
			of := s.History.Instances[n]
			plan.Send = append(plan.Send, Send{
				ID: i.ID, Dest: destination(of, *plan, s), Reset: i.Reset,
				Again: of.Server.VMState == "error" && (of.Last != nil || of.FailedBefore),
			})
		}
	}
	return len(plan.Send)
}

// until is when the plan changes by itself at the earliest.
func until(plan Plan, s Situation) time.Time {
	var first time.Time
	if plan.Returned {
		return first
	}
	for _, i := range plan.Instances {
		var t time.Time
		switch i.State {
		case Failed:
			t = s.Attempts[i.ID].NotBefore
		case Doubtful:
			t = cmp.Or(s.Attempts[i.ID].UnknownUntil, s.DoubtUntil)
		}
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// doubt marks the instances for which a dead owner's request may be under way.
func doubt(plan *Plan, s Situation) {
	if s.Doubt == 0 || !s.Now.Before(s.DoubtUntil) {
		return
	}
	fresh := 0
	for n := range plan.Instances {
		i := &plan.Instances[n]
		if i.State != Waiting {
			continue
		}
		if s.History.Instances[n].Last == nil {
			if fresh++; fresh > s.Doubt {
				continue // it stands behind those that the owner before can have sent
			}
		}
		// What failed before was sent again out of the order, so any may be in doubt.
		if a, ours := s.Attempts[i.ID]; !ours || a.Earlier {
			i.State, i.Reason = Doubtful, SentBefore
		}
	}
}
