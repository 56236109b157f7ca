package evacuate

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nova-evac/nova-evac/pkg/history"
	"github.com/nova-evac/nova-evac/pkg/nova"
)

// Words puts a plan in words, the most important first: what the evacuation waits for, or
// what was left and why. They are for people. Nothing reads them back.
func Words(plan Plan, s Situation) string {
	switch {
	case !s.History.Listed:
		return "Nova lists no nova-compute of this name any more"
	case plan.Returned:
		return returned(plan, s)
	}
	parts := append(down(plan), danger(plan, s)...)
	parts = append(parts, slowest(plan, s)...)
	parts = append(parts, counts(plan)...)
	for _, state := range []State{Failed, Doubtful, Skipped} {
		if n := plan.Count(state); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s, %s", n, state, example(plan, s, state)))
		}
	}
	return strings.Join(parts, "; ")
}

// down says what is missing of Nova's taking the host for down.
func down(plan Plan) []string {
	switch {
	case plan.ForceDown:
		return []string{"Nova to take the host for down"}
	case !plan.Service.ForcedDown:
		// Whoever cleared it takes the host for alive. It may well be, with its
		// instances running: nothing is sent until somebody says otherwise.
		return []string{"somebody to force the host down again: its forced_down was cleared while instances were left on it"}
	}
	return nil
}

// danger says what is feared of a host that is on while instances have not left it.
func danger(plan Plan, s Situation) []string {
	if len(plan.Instances) == plan.Count(Skipped) {
		return nil
	}
	host, what := s.History.Host, ""
	switch s.Source {
	case SourceOff, SourceGated:
		return nil
	case SourceUnsure:
		if plan.Held == 0 {
			return nil
		}
		return []string{fmt.Sprintf("it to be known whether %s is off: there was a sign of life, and %d instances are not sent meanwhile", host, plan.Held)}
	case SourceRuns:
		what = fmt.Sprintf("DANGER: nova-compute of %s runs while instances have not left", host)
	default:
		what = fmt.Sprintf("DANGER: %s is on while instances have not left, and no gate holds its nova-compute", host)
	}
	if plan.Held == 0 {
		return []string{what + ": it destroys their disks; stop it"}
	}
	return []string{fmt.Sprintf("%s: %d may run there and are not sent; have it fenced again ('nova-evac host --fence %s'), or let it in with them ('nova-evac admit %[3]s')", what, plan.Held, host)}
}

// slowest names the rebuild that takes longest, where that is long, with what can be done.
func slowest(plan Plan, s Situation) []string {
	var oldest Instance
	for _, i := range plan.Instances {
		if i.State == Rebuilding && (oldest.ID == "" || i.Began.Before(oldest.Began)) {
			oldest = i
		}
	}
	took := s.History.Age(oldest.Began)
	if oldest.Began.IsZero() || took <= history.LongRebuild {
		return nil
	}
	do := fmt.Sprintf("if nova-compute of %s was restarted since, or Nova's database was away, it is stuck, and 'openstack server set --state error %s' has it sent again",
		cmp.Or(oldest.Dest, "its destination"), oldest.ID)
	if dest, known := s.History.ServiceOf(oldest.Dest); known && !dest.Up && !dest.ForcedDown {
		do = fmt.Sprintf("nova-compute of %s, which has it, does not run: start it, or have the host fenced", dest.Host)
	}
	return []string{fmt.Sprintf("%s for %s: %s", cmp.Or(oldest.Name, oldest.ID), took.Round(time.Minute), do)}
}

// counts says how many instances are under way, and how many wait for a slot.
func counts(plan Plan) []string {
	var parts, on []string
	where := map[string]int{}
	for _, i := range plan.Instances {
		if i.State == Rebuilding {
			where[cmp.Or(i.Dest, "a destination to be chosen")]++
		}
	}
	for host, n := range where {
		on = append(on, fmt.Sprintf("%s %d", host, n))
	}
	slices.Sort(on)
	if len(on) > 0 {
		parts = append(parts, fmt.Sprintf("%d rebuilding (%s)", plan.Count(Rebuilding), strings.Join(on, ", ")))
	}
	if n := plan.Count(Sent) + len(plan.Send); n > 0 {
		parts = append(parts, fmt.Sprintf("%d sent", n))
	}
	if n := plan.Count(Waiting) - len(plan.Send); n > 0 && plan.Held == 0 {
		parts = append(parts, fmt.Sprintf("%d waiting for a slot", n))
	}
	return parts
}

// example names the first instance in a state, with its reason.
func example(plan Plan, s Situation, state State) string {
	n := slices.IndexFunc(plan.Instances, func(i Instance) bool { return i.State == state })
	i := plan.Instances[n]
	return fmt.Sprintf("%s: %s", cmp.Or(i.Name, i.ID), why(i, s.History.Instances[n], s))
}

// why puts in words why an instance is in its state.
func why(i Instance, of history.Instance, s Situation) string {
	switch i.Reason {
	case CameSince:
		return "it has come to the host after that was fenced: the host is on again and runs it"
	case LeftInError:
		return "it was in error, and leave_error is set"
	case NotEvacuable:
		return "Nova does not evacuate an instance that is " + of.Server.VMState
	case BeingDeleted:
		return "its user has asked for its deletion, an evacuation would bring it back"
	case AnswerLost:
		return fmt.Sprintf("the answer to its request was lost; sent again after %s unless it shows", clock(s.Attempts[i.ID].UnknownUntil))
	case SentBefore:
		return "the owner before may have sent it; sent again after " + clock(s.DoubtUntil) + " unless it shows"
	}
	what := cmp.Or(failure(i, of, s), "its evacuation came to nothing")
	if i.GuestOutOfReach {
		what = fmt.Sprintf("%s; it may run there: sent to %s again when that can be used, and elsewhere when it is fenced", what, s.guest(of).Host)
	}
	return what
}

// failure puts in words what came of the last attempt to evacuate an instance.
func failure(i Instance, of history.Instance, s Situation) string {
	switch i.Reason {
	case RequestFailed:
		return s.Attempts[i.ID].Err
	case RebuildFailed:
		return rebuildFailed(of)
	case NotTold:
		return "it cannot be told what has become of its evacuations: " + reason(s.NoAnswer[i.ID])
	case GivenUp:
		return "Nova gave its evacuation up: " + of.Last.Course.Err
	case Lost:
		return of.Last.At + " has lost its evacuation, it took later ones"
	case NoEnd:
		return "its evacuation to " + of.Guest.Host + " has no end in Nova"
	}
	return ""
}

// rebuildFailed says how the last evacuation of an instance failed, and where.
func rebuildFailed(of history.Instance) string {
	what := cmp.Or(of.Server.Fault, "its evacuation ended as "+string(of.Last.Status))
	if of.Last.Dest != "" {
		what += " (on " + of.Last.Dest + ")"
		if of.Guest.Exists {
			what += ": destroy that guest, and it is evacuated"
		}
	}
	return what
}

// returned says why nothing is done about a host that Nova has heard of since.
func returned(plan Plan, s Situation) string {
	service := plan.Service
	if !service.Up {
		return fmt.Sprintf("an operator: Nova has heard from nova-compute of %s after the fencing (%s), and nobody told Nova that the host is down; its instances may run there. "+
			"If it is off, say so: 'openstack compute service set --down %[1]s nova-compute'", service.Host, clock(service.Updated))
	}
	var names []string
	for _, i := range s.History.Instances {
		if i.NeedsLook {
			names = append(names, i.Server.Name)
		}
	}
	what := fmt.Sprintf("%s is up, and nobody has it forced down", service.Host)
	if len(names) > 0 {
		return fmt.Sprintf("an operator: %s; Nova has %d instances there: see that they run (%s), then 'nova-evac admit %s'",
			what, len(s.History.Instances), abridged(names), service.Host)
	}
	return "its heartbeats to go on: " + what
}

// deleted says of an instance that its user has deleted it while it was rebuilt.
func deleted(i Instance) string {
	return fmt.Sprintf("%s was deleted while it was rebuilt: its guest may be left on %s until Nova reaps it", cmp.Or(i.Name, i.ID), cmp.Or(i.Dest, "its destination"))
}

// reason is an error's message without what was being done, which its reader knows.
func reason(err error) string {
	var e *nova.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}

// abridged names a few.
func abridged(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// clock is a moment as the record's reader finds it beside since and updated.
func clock(t time.Time) string { return t.UTC().Format("15:04:05Z") }
