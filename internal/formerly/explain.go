package formerly

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// longRebuild is from when on a rebuild is named with what an operator can do: one
// whose destination's nova-compute was restarted in the middle goes on for ever in
// Nova, and nothing in its API tells it from one that copies a big disk.
const longRebuild = 20 * time.Minute

// explain puts the plan in words, the most important first.
func explain(plan Plan, s Situation) (string, time.Time) {
	var parts []string
	var until time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (until.IsZero() || t.Before(until)) {
			until = t
		}
	}
	switch {
	case plan.Returned:
		return explainReturned(plan, s), time.Time{}
	case plan.ForceDown:
		parts = append(parts, "Nova to take the host for down")
	case !plan.Service.ForcedDown:
		// Whoever cleared it takes the host for alive. It may well be, with its
		// instances running: nothing is sent until somebody says otherwise.
		parts = append(parts, "somebody to force the host down again: its forced_down was cleared while instances were left on it")
	}
	if n := len(plan.Instances) - plan.Count(Skipped); n > 0 {
		parts = append(parts, danger(plan, s)...)
	}
	where := map[string]int{}
	var oldest Instance
	for _, i := range plan.Instances {
		a := s.Attempts[i.ID]
		switch i.State {
		case Rebuilding:
			where[cmp.Or(i.Dest, "a destination to be chosen")]++
			if oldest.ID == "" || i.Began.Before(oldest.Began) {
				oldest = i
			}
		case Failed:
			sooner(a.NotBefore)
		case Doubtful:
			sooner(cmp.Or(a.UnknownUntil, s.DoubtUntil))
		}
	}
	if took := s.Now.Add(s.Skew).Sub(oldest.Began); !oldest.Began.IsZero() && took > longRebuild {
		do := fmt.Sprintf("if nova-compute of %s was restarted since, or Nova's database was away, it is stuck, and 'openstack server set --state error %s' has it sent again",
			cmp.Or(oldest.Dest, "its destination"), oldest.ID)
		if dest, known := find(s.Snapshot.Services, oldest.Dest); known && !dest.Up && !dest.ForcedDown {
			do = fmt.Sprintf("nova-compute of %s, which has it, does not run: start it, or have the host fenced", dest.Host)
		}
		parts = append(parts, fmt.Sprintf("%s for %s: %s", cmp.Or(oldest.Name, oldest.ID), took.Round(time.Minute), do))
	}
	if len(where) > 0 {
		var on []string
		for host, n := range where {
			on = append(on, fmt.Sprintf("%s %d", host, n))
		}
		slices.Sort(on)
		parts = append(parts, fmt.Sprintf("%d rebuilding (%s)", plan.Count(Rebuilding), strings.Join(on, ", ")))
	}
	if n := plan.Count(Sent) + len(plan.Send); n > 0 {
		parts = append(parts, fmt.Sprintf("%d sent", n))
	}
	if n := plan.Count(Waiting) - len(plan.Send); n > 0 && plan.Held == 0 {
		parts = append(parts, fmt.Sprintf("%d waiting for a slot", n))
	}
	for _, state := range []State{Failed, Doubtful, Skipped} {
		if n := plan.Count(state); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s, %s", n, state, example(plan.Instances, state)))
		}
	}
	return strings.Join(parts, "; "), until
}

// danger says what is feared of a host that is on while instances have not left it.
func danger(plan Plan, s Situation) []string {
	what := ""
	switch s.Source {
	case SourceOff, SourceGated:
		return nil
	case SourceUnsure:
		if plan.Held == 0 {
			return nil
		}
		return []string{fmt.Sprintf("it to be known whether %s is off: there was a sign of life, and %d instances are not sent meanwhile", s.Host, plan.Held)}
	case SourceRuns:
		what = fmt.Sprintf("DANGER: nova-compute of %s runs while instances have not left", s.Host)
	default:
		what = fmt.Sprintf("DANGER: %s is on while instances have not left, and no gate holds its nova-compute", s.Host)
	}
	if plan.Held == 0 {
		return []string{what + ": it destroys their disks; stop it"}
	}
	return []string{fmt.Sprintf("%s: %d may run there and are not sent; have it fenced again ('nova-evac host --fence %s'), or let it in with them ('nova-evac admit %[3]s')", what, plan.Held, s.Host)}
}

// example names the first instance in a state, with its reason.
func example(instances []Instance, state State) string {
	for _, i := range instances {
		if i.State == state {
			return fmt.Sprintf("%s: %s", cmp.Or(i.Name, i.ID), i.Why)
		}
	}
	return ""
}

func join(names []string) string { return strings.Join(names, ", ") }

// clock is a moment as the record's reader finds it beside since and updated.
func clock(t time.Time) string { return t.UTC().Format("15:04:05Z") }
