package formerly

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// clockMargin covers what is lost in whole seconds: those of Nova's created_at,
// of the Date header that gives the skew, and of the record's since.
const clockMargin = 3 * time.Second

// staleAccepted is the age from which an evacuation record that is accepted,
// while its instance has no task, belongs to a request that came to nothing: Nova
// sets the task before it makes the record (nova/compute/api.py, evacuate).
const staleAccepted = 30 * time.Second

// queueTime is how long an evacuation is left to a destination that was fenced before
// it took it. The message waits in its queue; a cluster powers a fenced host on again
// at once, and its nova-compute takes the message up (seen on Nova 26.2). If it was
// sent elsewhere by then, both rebuild the instance.
const queueTime = 3 * time.Minute

// bootTime is how long it is left there where that host is on again by then, and boots: it
// takes the message as soon as its nova-compute starts.
const bootTime = 15 * time.Minute

// answerTime is from when on an evacuation that no destination has taken is traced: the
// conductor waits so long for the scheduler (rpc_response_timeout), and then gives up
// without a word to anybody.
const answerTime = time.Minute

// arrivalTime is how long Nova may take from the end of a rebuild's task to the change of
// the instance's host.
const arrivalTime = 30 * time.Second

// sameSecond is how long an evacuation is left to a destination that took it in the
// very second in which it was fenced.
const sameSecond = time.Minute

// heartbeatLife is how long the scheduler may still choose a host that has fallen
// silent: Nova's service_down_time, by default a minute, and some more.
const heartbeatLife = 90 * time.Second

// past is the evacuation records of one instance.
type past struct {
	// all have the host as their source or their destination, in no order.
	all []nova.Migration
	// own are those from the host of this generation, newest first. Older ones mean
	// little: some stay accepted or pre-migrating for ever (seen on Nova 26.2).
	own []nova.Migration
}

// records groups the evacuation records by instance.
func records(s Situation) map[string]past {
	by := map[string]past{}
	since := s.Since.Add(s.Skew - clockMargin)
	for _, m := range s.Snapshot.Evacuations {
		p := by[m.Instance]
		p.all = append(p.all, m)
		if m.Source == s.Host && !m.Created.Before(since) {
			p.own = append(p.own, m)
		}
		by[m.Instance] = p
	}
	for _, p := range by {
		slices.SortFunc(p.own, func(a, b nova.Migration) int { return cmp.Compare(b.ID, a.ID) })
	}
	return by
}

// unsuccessful answers whether a record says itself that its evacuation failed.
func unsuccessful(m nova.Migration) bool {
	return m.Status == nova.StatusError || m.Status == nova.StatusFailed
}

// shows answers whether Nova shows the record of an attempt's request, which proves
// that it took it, whatever the answer was.
func (p past) shows(a Attempt) bool { return len(p.own) > 0 && p.own[0].ID > a.LastRecord }

// failed answers whether the last evacuation of an instance that is not under way any
// more has failed. Its record need not say so: where no host is valid, Nova marks the
// oldest record that is accepted, which may be another one's.
func failed(server nova.Server, history []nova.Migration) bool {
	return unsuccessful(history[0]) || server.VMState == "error" && server.TaskState == ""
}

// underway answers whether Nova may still be working on an instance's evacuation.
// An evacuation whose every destination is dead is not: nothing in Nova ends it
// (seen on Nova 26.2, the record stays pre-migrating for ever).
func underway(server nova.Server, past past, services map[string]nova.Service, s Situation) (bool, string) {
	open := false
	for _, m := range past.own {
		// Nova sets the host before the record is done, and the records were read first:
		// an instance that came back to a host that is down is impossible, one that is
		// not yet seen to have left is not.
		if m.Status == nova.StatusDone {
			return true, "Nova has finished, its host is not seen to have changed yet"
		}
		open = open || goesOn(m, server, services, s)
	}
	// A moment before an evacuation's end its instance has no task any more, and its old
	// host still.
	rebuilding := strings.HasPrefix(server.TaskState, "rebuild") || server.TaskState == "" && s.Now.Add(s.Skew).Sub(server.Updated) < arrivalTime
	switch {
	case open:
		return true, ""
	case rebuilding && len(past.own) == 0:
		// Begun before this generation: by hand, or a user's own rebuild that the
		// host took with it. Nobody works on the latter, and Nova takes an evacuation
		// all the same, so it has to be told apart from the former by its record.
		return openBefore(server, past, services, s), "its evacuation was begun before the host was fenced"
	}
	return false, ""
}

// goesOn answers whether the evacuation of one record may still come to something.
func goesOn(m nova.Migration, server nova.Server, services map[string]nova.Service, s Situation) bool {
	if !m.Open() {
		return false
	}
	switch {
	case lost(m, s, services) != "":
		return false
	case server.TaskState == "" && server.VMState == "error" && (s.novaAge(m) > answerTime || s.Snapshot.Courses[m.ID].Failed):
		// Nova clears the task and says error when a rebuild has failed; an operator
		// does, with os-resetState, to say that one is stuck. Of one that was sent only now
		// he does not know yet.
		return false
	case m.Dest != "":
		// Accepted with a destination is one that was asked for by name: the scheduler
		// has still to look whether it lives.
		return !dead(m.Dest, services) || untaken(m) && s.Snapshot.Courses[m.ID].Taken.IsZero() && queued(m, s) || claimedAfterFencing(m, services, s)
	case headedForDead(m, s, services):
		return false
	}
	return m.Status != nova.StatusAccepted || server.TaskState != "" || s.novaAge(m) <= staleAccepted
}

// queued answers whether an evacuation that no destination has taken may still come to
// something although its destination is dead: the conductor has it, or it waits for the
// destination and is left there for a while.
func queued(m nova.Migration, s Situation) bool {
	course, traced := s.Snapshot.Courses[m.ID]
	switch {
	case !traced:
		return true
	case course.Err == "" && course.Sent.IsZero():
		return s.novaAge(m) < longRebuild
	}
	limit := queueTime
	for _, host := range append(slices.Clone(s.Snapshot.Headed[m.Instance]), m.Dest) {
		if s.Back[host] {
			limit = bootTime
		}
	}
	return s.Now.Add(s.Skew).Sub(course.Sent) < limit
}

// untaken answers whether, as far as the record says, no destination has begun.
func untaken(m nova.Migration) bool {
	return m.Status == nova.StatusAccepted || m.Status == nova.StatusCompleted
}

// lost says how an evacuation that is accepted came to an end of which Nova says nothing,
// and nothing where it may go on.
//
// The conductor gives up when the scheduler does not answer, and writes that into an event
// only. And a nova-compute that is stopping takes messages with it (both seen on Nova
// 26.2). It takes them in the order in which they came, so one that was sent later and
// that it has begun shows that it will not take this one any more. It is given some time
// all the same, for a broker may deliver a message again that was not acknowledged.
func lost(m nova.Migration, s Situation, services map[string]nova.Service) string {
	course := s.Snapshot.Courses[m.ID]
	switch {
	case !untaken(m), !course.Taken.IsZero():
		return ""
	case course.Err != "":
		return "Nova gave its evacuation up: " + course.Err
	case course.Sent.IsZero() || s.Now.Add(s.Skew).Sub(course.Sent) < queueTime:
		return ""
	}
	to := cmp.Or(m.Dest, headedFor(m.Instance, s))
	if to == "" || !services[to].Up {
		return ""
	}
	for _, later := range s.Snapshot.Evacuations {
		if later.Dest == to && later.Instance != m.Instance && later.Created.After(course.Sent.Add(clockMargin)) &&
			(later.Status == nova.StatusPreMigrating || later.Status == nova.StatusDone) && s.Now.Add(s.Skew).Sub(later.Updated) > clockMargin {
			return to + " has lost its evacuation, it took later ones"
		}
	}
	return ""
}

// headedFor names the one host but the source on which an instance has room set aside.
func headedFor(id string, s Situation) string {
	headed := s.Snapshot.Headed[id]
	if n := slices.Index(headed, s.Host); n >= 0 && len(headed) == 2 {
		return headed[1-n]
	}
	return ""
}

// claimedAfterFencing answers whether a destination that is forced down has taken an
// evacuation after it was fenced: it was powered on again, its nova-compute has found
// the message that waited for it, and works on it (seen on Nova 26.2). When it was
// fenced stands in its disabled_reason, if that is ours.
func claimedAfterFencing(m nova.Migration, services map[string]nova.Service, s Situation) bool {
	fenced, ours := record.ParseReason(services[m.Dest].DisabledReason)
	if !ours || fenced.Since.IsZero() {
		return false
	}
	taken := m.Updated
	if untaken(m) {
		// The source's nova-compute was started, and wrote the record last; or the destination
		// has written another one, for they cross. When it began only the events tell.
		course, traced := s.Snapshot.Courses[m.ID]
		if !traced {
			return m.Status == nova.StatusCompleted && taken.After(fenced.Since.Add(s.Skew))
		}
		taken = course.Taken
	}
	// Both are whole seconds. In the same second it may have been either before the
	// host died or after: it is given its time.
	switch since := taken.Sub(fenced.Since.Add(s.Skew)); {
	case since >= time.Second:
		return true
	case since > -time.Second:
		return s.Now.Add(s.Skew).Sub(taken) < sameSecond
	}
	return false
}

// arrivedAfterFencing answers whether the instance is on the host by an evacuation
// that ended there after the host was fenced: the host was powered on again and took
// up what was waiting for it. (The record becomes done only after that.) However long
// the host is forced down, the guest runs there.
func (p past) arrivedAfterFencing(s Situation) bool {
	return slices.ContainsFunc(p.all, func(m nova.Migration) bool {
		if !mayHaveArrived(m, s) {
			return false
		}
		course := s.Snapshot.Courses[m.ID]
		if m.Status == nova.StatusCompleted && course.Ended.IsZero() {
			// Records cross, and its events are those of another one. Of a host that nobody has
			// seen on since its fencing that is no sign of one.
			return s.Source != SourceOff
		}
		return m.Status != nova.StatusCompleted || course.Ended.After(s.Since.Add(s.Skew+clockMargin))
	})
}

// mayHaveArrived answers whether a record alone speaks for an arrival after the fencing.
// One that is completed was written by its source's nova-compute last, at its start, and
// is to be traced.
func mayHaveArrived(m nova.Migration, s Situation) bool {
	return m.Dest == s.Host && !unsuccessful(m) && m.Updated.After(s.Since.Add(s.Skew+clockMargin))
}

// toTrace are the evacuations of an instance of which the events have to be asked.
func toTrace(server nova.Server, p past, i Instance, s Situation) []nova.Migration {
	inError := server.VMState == "error"
	return slices.DeleteFunc(slices.Clone(p.all), func(m nova.Migration) bool {
		switch {
		case m.Status == nova.StatusCompleted && mayHaveArrived(m, s):
			return false
		case m.Source != s.Host:
			return true
		case i.State == Waiting || i.State == Failed && !s.Now.Before(s.Attempts[server.ID].NotBefore):
			return !(inError && m.Status == nova.StatusCompleted)
		case i.State == Rebuilding && inError && server.TaskState == "":
			return !m.Open()
		case i.State == Rebuilding:
			return !(m.Status == nova.StatusCompleted || m.Status == nova.StatusAccepted && s.novaAge(m) > answerTime)
		}
		return true
	})
}

// openBefore answers whether an evacuation from before this generation goes on.
func openBefore(server nova.Server, past past, services map[string]nova.Service, s Situation) bool {
	return slices.ContainsFunc(past.all, func(m nova.Migration) bool { return m.Source == s.Host && goesOn(m, server, services, s) })
}

// novaAge is how old a record is by Nova's clock.
func (s Situation) novaAge(m nova.Migration) time.Duration {
	return s.Now.Add(s.Skew).Sub(m.Created)
}

// dead: somebody told Nova that the host is off. Nova believes it, and so do we:
// a host that merely does not answer may still be at work.
func dead(host string, services map[string]nova.Service) bool {
	svc, known := services[host]
	return host != "" && known && svc.ForcedDown
}

// headedForDead answers whether placement has set aside room for an evacuation only
// on hosts that are dead, apart from the source itself.
//
// The scheduler is given its time to choose.
func headedForDead(m nova.Migration, s Situation, services map[string]nova.Service) bool {
	if queued(m, s) {
		return false
	}
	others := 0
	for _, host := range s.Snapshot.Headed[m.Instance] {
		if host == s.Host || leftOver(host, m.Created, services) {
			continue
		}
		if !dead(host, services) {
			return false
		}
		others++
	}
	return others > 0
}

// leftOver answers whether room on a host is that of an earlier evacuation than the one
// that was accepted at a time: until nova-compute of the host that it came from runs
// again, an instance holds room there, and who was dead already cannot be a destination.
func leftOver(host string, accepted time.Time, services map[string]nova.Service) bool {
	return dead(host, services) && services[host].Updated.Before(accepted.Add(-heartbeatLife))
}

// undecided answers whether a record of the instance is open and names no
// destination. Another one may name one all the same: of two evacuations the later
// one's destination claims the earlier one's record (nova/db/main/api.py,
// migration_get_by_instance_and_status takes the first that is accepted).
func undecided(past past, s Situation) bool {
	return slices.ContainsFunc(past.all, func(m nova.Migration) bool {
		return m.Source == s.Host && untaken(m) && m.Dest == ""
	})
}

// asksWhere: the destination matters only when a host died since.
func asksWhere(s Situation, services map[string]nova.Service) bool {
	for host := range services {
		if host != s.Host && dead(host, services) {
			return true
		}
	}
	return false
}
