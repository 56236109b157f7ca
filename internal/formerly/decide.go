package formerly

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nova-evac/nova-evac/pkg/nova"
)

// Decide looks at a situation and says what to do. It is a pure function.
func Decide(s Situation, p Policy) Plan {
	var plan Plan
	service, found := find(s.Snapshot.Services, s.Host)
	if !found {
		plan.Wait = "Nova lists no nova-compute of this name any more"
		return plan
	}
	plan.Service = service
	services := byHost(s.Snapshot.Services)
	pasts := records(s)
	plan.Done = left(s, pasts)

	var fresh []int // indexes into plan.Instances
	waiting := 0
	servers := sorted(s.Snapshot.Servers)
	for _, server := range servers {
		past := pasts[server.ID]
		i := judge(server, past, services, s, p)
		if i.State == Waiting && len(past.own) == 0 {
			fresh = append(fresh, len(plan.Instances))
		}
		trace := toTrace(server, past, i, s)
		if i.State == Waiting {
			if waiting++; waiting > p.MaxInFlight {
				trace = nil // its turn comes later
			}
		}
		plan.Trace = append(plan.Trace, trace...)
		if i.State == Rebuilding && undecided(past, s) && (len(trace) > 0 || asksWhere(s, services)) {
			plan.Ask = append(plan.Ask, i.ID)
		}
		plan.Instances = append(plan.Instances, i)
	}
	doubt(&plan, fresh, s)

	// A request that is still under way for an instance that is not listed occupies
	// its slot as well: its answer alone says what became of it.
	listed := ids(servers)
	busy := plan.Count(Sent, Rebuilding)
	for _, i := range plan.Instances {
		// A lost answer holds its slot too: it bounds what a next owner cannot see.
		if i.State == Doubtful && !s.Attempts[i.ID].UnknownUntil.IsZero() {
			busy++
		}
	}
	for id, a := range s.Attempts {
		if a.Pending && !listed[id] {
			busy++
		}
	}
	// Evacuations of this generation show that the host was forced down before. If it is up
	// now, it was let in: the record is one of the past.
	plan.Begun = slices.ContainsFunc(slices.Collect(maps.Values(pasts)), func(p past) bool { return len(p.own) > 0 })
	letIn := !service.ForcedDown && service.Up && plan.Begun
	plan.Returned = !s.WasDown && (letIn || heardSince(service, s))
	plan.LetIn = plan.Returned && nothingLeft(service, s)
	// An operator's own disable stands in the place of our reason, and stays.
	plan.ForceDown = !nova.KnowsDown(service, s.Reason) && !s.WasDown && !plan.Returned
	if service.ForcedDown && !s.Source.Safe() {
		plan.Held = plan.Count(Waiting, Failed, Doubtful)
	}
	plan.Sending = service.ForcedDown && !plan.ForceDown && s.Source.Safe() && plan.Count(Failed)-s.FailedOnRecord <= p.unrecorded()
	if plan.Sending {
		for n, i := range plan.Instances {
			if i.State == Waiting && busy < p.MaxInFlight {
				own := pasts[i.ID].own
				plan.Send = append(plan.Send, Send{ID: i.ID, Dest: destination(servers[n], pasts[i.ID], plan, s), Again: servers[n].VMState == "error" && len(own) > 0, Reset: i.Reset})
				busy++
			}
		}
	}
	plan.Settled = service.ForcedDown && !plan.ForceDown && busy == 0 && plan.Count(Waiting, Doubtful, Failed) == 0
	plan.Wait, plan.Until = explain(plan, s)
	return plan
}

func find(services []nova.Service, host string) (nova.Service, bool) {
	for _, svc := range services {
		if svc.Host == host {
			return svc, true
		}
	}
	return nova.Service{}, false
}

// sorted gives the order of sending, which a new owner must be able to compute
// again from Nova's answers alone.
func sorted(servers []nova.Server) []nova.Server {
	servers = slices.Clone(servers)
	slices.SortFunc(servers, func(a, b nova.Server) int { return cmp.Compare(a.ID, b.ID) })
	return servers
}

// byHost is for looking services up.
func byHost(services []nova.Service) map[string]nova.Service {
	by := make(map[string]nova.Service, len(services))
	for _, svc := range services {
		by[svc.Host] = svc
	}
	return by
}

// ids are those of the instances listed.
func ids(servers []nova.Server) map[string]bool {
	listed := make(map[string]bool, len(servers))
	for _, server := range servers {
		listed[server.ID] = true
	}
	return listed
}

// left counts the instances with an evacuation of this generation that are not on
// the host any more. Its record may be open still: Nova changes the host first. One
// that was deleted is not counted, its records went with it.
func left(s Situation, pasts map[string]past) int {
	here := ids(s.Snapshot.Servers)
	n := 0
	for id, past := range pasts {
		if !here[id] && slices.ContainsFunc(past.own, func(m nova.Migration) bool { return !unsuccessful(m) }) {
			n++
		}
	}
	return n
}

// Learn draws from a new look at Nova what came of the requests that were answered
// before it, and returns the attempts so completed. An instance that is still on
// the host with nothing under way has failed, and gets a pause; one whose
// destination died has not failed, and gets none.
func Learn(s Situation, p Policy) map[string]Attempt {
	services, pasts, listed := byHost(s.Snapshot.Services), records(s), ids(s.Snapshot.Servers)
	learned := map[string]Attempt{}
	for _, server := range s.Snapshot.Servers {
		a, tried := s.Attempts[server.ID]
		if !tried {
			continue
		}
		learned[server.ID] = a
		if a.Pending || a.Over || !a.Answered.Before(s.Snapshot.Began) || server.Partial {
			continue
		}
		past := pasts[server.ID]
		shown := past.shows(a)
		if under, _ := underway(server, past, services, s); under || !shown && s.Now.Before(a.UnknownUntil) {
			continue
		}
		a.Over, a.UnknownUntil = true, time.Time{}
		if !shown || failed(server, past.own) || s.Snapshot.Courses[past.own[0].ID].Err != "" {
			a.Failures++
			a.NotBefore = s.Now.Add(p.Pause(a.Failures))
		}
		learned[server.ID] = a
	}
	for id, a := range s.Attempts {
		if !listed[id] && (a.Pending || !a.Answered.Before(s.Snapshot.Began)) {
			learned[id] = a
		}
	}
	return learned
}

// judge says what is to be thought of one instance that Nova has on the host.
func judge(server nova.Server, past past, services map[string]nova.Service, s Situation, p Policy) Instance {
	i := Instance{ID: server.ID, Name: server.Name}
	is := func(state State, why string) Instance {
		i.State, i.Why = state, why
		return i
	}
	a, tried := s.Attempts[server.ID]
	switch {
	case a.Pending:
		return is(Sent, "")
	case tried && !a.Answered.Before(s.Snapshot.Began):
		return is(Sent, "") // answered, but this look at Nova is older than the answer
	}

	if server.Partial {
		return is(Rebuilding, "its cell is down, Nova tells nothing of it")
	}
	if past.arrivedAfterFencing(s) {
		return is(Skipped, "it has come to the host after that was fenced: the host is on again and runs it")
	}
	if under, why := underway(server, past, services, s); under {
		for _, m := range past.all {
			if m.Source == s.Host && m.Created.After(i.Began) && goesOn(m, server, services, s) {
				i.Dest, i.Began = m.Dest, m.Created
			}
		}
		if to := headedFor(server.ID, s); i.Dest == "" && !leftOver(to, i.Began, services) {
			i.Dest = to
		}
		return is(Rebuilding, why)
	}
	if tried && !past.shows(a) && s.Now.Before(a.UnknownUntil) {
		return is(Doubtful, fmt.Sprintf("the answer to its request was lost; sent again after %s unless it shows", clock(a.UnknownUntil)))
	}
	if why := stays(server, past, p); why != "" {
		return is(Skipped, why)
	}

	failure := a.Err
	if len(past.own) > 0 && failed(server, past.own) {
		last := past.own[0]
		failure = cmp.Or(server.Fault, "its evacuation ended as "+string(last.Status))
		if last.Dest != "" {
			failure += " (on " + last.Dest + ")"
			if hasGuest(server) {
				failure += ": destroy that guest, and it is evacuated"
			}
		}
	} else if len(past.own) > 0 {
		failure = cmp.Or(lost(past.own[0], s, services), failure)
	}
	stuck := stuckOn(server, past, s)
	if stuck.Dest != "" {
		failure = cmp.Or(failure, "its evacuation to "+stuck.Dest+" has no end in Nova")
	}
	if s.Now.Before(a.NotBefore) {
		return is(Failed, cmp.Or(failure, "its evacuation came to nothing"))
	}
	if on, known := services[stuck.Dest]; known && !usable(on) && (!on.ForcedDown || claimedAfterFencing(stuck, services, s)) {
		return is(Failed, fmt.Sprintf("%s; it may run there: sent to %s again when that can be used, and elsewhere when it is fenced", failure, on.Host))
	}
	i.Reset = !server.Evacuable()
	return is(Waiting, failure)
}

// stays says why an instance is not evacuated, and nothing where it is. Nova
// evacuates active, stopped and error, and refuses all else with 409
// (nova/compute/api.py, evacuate; tried state by state on Nova 26.2).
func stays(server nova.Server, past past, p Policy) string {
	switch {
	case server.VMState == "error" && p.LeaveError && len(past.own) == 0:
		return "it was in error, and leave_error is set"
	case !server.Evacuable() && !slices.Contains(p.ResetStates, server.VMState):
		return "Nova does not evacuate an instance that is " + server.VMState
	}
	if server.TaskState == "deleting" || server.TaskState == "soft-deleting" {
		return "its user has asked for its deletion, an evacuation would bring it back"
	}
	return ""
}

// doubt marks the instances for which a dead owner's request may be under way.
func doubt(plan *Plan, fresh []int, s Situation) {
	if s.Doubt == 0 || !s.Now.Before(s.DoubtUntil) {
		return
	}
	why := "the owner before may have sent it; sent again after " + clock(s.DoubtUntil) + " unless it shows"
	mark := func(i *Instance) {
		if _, ours := s.Attempts[i.ID]; !ours {
			i.State, i.Why = Doubtful, why
		}
	}
	for n, index := range fresh {
		if n < s.Doubt {
			mark(&plan.Instances[index])
		}
	}
	first := map[int]bool{}
	for _, index := range fresh {
		first[index] = true
	}
	for n := range plan.Instances {
		// What failed before was sent again out of the order, so any may be in doubt.
		if plan.Instances[n].State == Waiting && !first[n] {
			mark(&plan.Instances[n])
		}
	}
}
