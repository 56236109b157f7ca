package history

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/nova-evac/nova-evac/pkg/nova"
)

// reader is a look at Nova, with every stamp by Nova's clock.
type reader struct {
	Look
	now         Time
	fenced      Fencing
	services    map[string]nova.Service
	evacuations []Evacuation
	of          map[string][]Evacuation // by instance
	anyDead     bool                    // a host other than the fenced one
}

// newReader is the door of the package: behind it no time is a controller's.
func newReader(look Look) *reader {
	r := &reader{Look: look, now: look.Clock.Time(look.Now), fenced: look.Clock.Fenced(look.Since),
		services: map[string]nova.Service{}, of: map[string][]Evacuation{}}
	for _, s := range look.Services {
		r.services[s.Host] = s
		r.anyDead = r.anyDead || s.Host != look.Host && s.ForcedDown
	}
	for _, m := range look.records() {
		e := Evacuation{ID: m.ID, Source: m.Source, Dest: m.Dest, Status: m.Status, Created: Stamp(m.Created), Updated: Stamp(m.Updated), record: m}
		e.Earlier = e.Created.Before(r.fenced.Begins())
		if c, traced := look.Courses[m.ID]; traced {
			e.Course = Course{Traced: true, Sent: Stamp(c.Sent), Taken: Stamp(c.Taken), Ended: Stamp(c.Ended), Failed: c.Failed, GivenUp: c.Err != "", Err: c.Err}
		}
		r.evacuations = append(r.evacuations, e)
		r.of[m.Instance] = append(r.of[m.Instance], e)
	}
	return r
}

// records are all evacuation records of a look, each once.
func (l Look) records() []nova.Migration {
	all, known := l.Evacuations, map[int]bool{}
	for _, m := range all {
		known[m.ID] = true
	}
	for _, more := range l.Everywhere {
		for _, m := range more {
			if !known[m.ID] {
				known[m.ID], all = true, append(slices.Clip(all), m)
			}
		}
	}
	return all
}

// instance says what has become of an instance on the host.
func (r *reader) instance(server nova.Server) Instance {
	i := Instance{Server: server, Evacuations: r.of[server.ID], headed: r.Headed[server.ID],
		host: r.Host, wherever: r.anyDead, now: r.now, fenced: r.fenced}
	i.Last = r.last(i.Evacuations)
	i.NeedsLook = r.needsLook(server)
	if server.Partial {
		return i
	}
	for n := range i.Evacuations {
		e := &i.Evacuations[n]
		e.Outcome, e.By, e.At = r.outcome(*e, server)
	}
	i.FailedBefore = slices.ContainsFunc(i.Evacuations, func(e Evacuation) bool {
		return e.Source == r.Host && e.Earlier && e.unsuccessful() && e.Created.After(r.fenced.at.Add(-againTime))
	})
	i.CameSince = slices.ContainsFunc(i.Evacuations, r.cameSince)
	i.UnderWay = slices.ContainsFunc(i.Evacuations, func(e Evacuation) bool { return r.counts(e, i) && e.Outcome.UnderWay() })
	switch {
	case i.UnderWay:
		i.Dest, i.Began = r.heading(i)
	case r.unlisted(i):
		i.UnderWay, i.Began = true, Stamp(server.Updated)
	default:
		i.Failed = i.Last != nil && (i.Last.unsuccessful() || inError(server))
		i.Guest = r.guest(i)
	}
	for n := range i.Evacuations {
		if e := &i.Evacuations[n]; r.leftBehind(*e, i) {
			e.Outcome, e.By = LeftOver, ByStatus
		}
	}
	return i
}

// last is the newest evacuation from the host since the fencing, nil where there is none.
func (r *reader) last(evacuations []Evacuation) *Evacuation {
	var last *Evacuation
	for n := range evacuations {
		if e := &evacuations[n]; r.own(*e) && (last == nil || last.ID < e.ID) {
			last = e
		}
	}
	return last
}

// own answers whether an evacuation was begun from the host since the fencing.
func (r *reader) own(e Evacuation) bool { return e.Source == r.Host && !e.Earlier }

// leftBehind answers whether an evacuation from before the fencing says nothing of the
// instance now.
func (r *reader) leftBehind(e Evacuation, i Instance) bool {
	return e.Source == r.Host && e.Earlier && !(r.counts(e, i) && e.Outcome.UnderWay())
}

// needsLook answers whether an instance is in error or busy, may be so, or may be off.
func (r *reader) needsLook(server nova.Server) bool {
	return server.Partial || server.TaskState != "" || server.VMState == vmError || r.mayBeOff(server)
}

// mayBeOff answers whether an instance ran on the host when that lost its power. One that was
// changed since was in somebody's hands since. Nova does not know whether an instance that is
// active runs: it takes up to ten minutes to notice that a guest is off
// (nova/conf/compute.py, sync_power_state_interval).
func (r *reader) mayBeOff(server nova.Server) bool {
	return server.VMState != "stopped" && !r.fenced.Over(Stamp(server.Updated))
}

// counts answers whether an evacuation can be the one that an instance is under. One from
// before the fencing was begun by hand, or for an earlier fencing. It can be as long as no
// other was begun since and the instance shows that it is being rebuilt. A user's own rebuild
// that the host took with it shows the same. Nobody works on that, and it has no record.
func (r *reader) counts(e Evacuation, i Instance) bool {
	switch {
	case e.Source != r.Host:
		return false
	case r.own(e):
		return true
	}
	// A moment before an evacuation's end its instance has no task any more, and its old
	// host still.
	task := i.Server.TaskState
	rebuilding := strings.HasPrefix(task, "rebuild") || task == "" && r.now.Sub(Stamp(i.Server.Updated)) < arrivalTime
	// Nova sets the host before the record is done, and an instance may have come back since:
	// done says nothing of one from before the fencing.
	return i.Last == nil && rebuilding && e.Status != nova.StatusDone
}

// unlisted answers whether an instance may be under an evacuation that somebody else has
// begun after the records were listed and before the instances were. It shows as the task
// alone. So does a user's own rebuild that the host took with it; but that one gets no
// record, however long one waits.
func (r *reader) unlisted(i Instance) bool {
	set := Stamp(i.Server.Updated)
	recorded := slices.ContainsFunc(i.Evacuations, func(e Evacuation) bool {
		// A rebuild that fails takes its task with it.
		return r.counts(e, i) && !(e.unsuccessful() && set.After(e.Updated))
	})
	return !recorded && strings.HasPrefix(i.Server.TaskState, "rebuild") && r.now.Sub(set) < unlistedTime
}

// heading is where an instance is being rebuilt, and when that began.
func (r *reader) heading(i Instance) (dest string, began Time) {
	for _, e := range i.Evacuations {
		if e.Source == r.Host && e.Status != nova.StatusDone && e.Outcome.UnderWay() && e.Created.After(began) {
			dest, began = e.Dest, e.Created
		}
	}
	if to := r.headedFor(i.Server.ID); dest == "" && !r.leftOver(to, began) {
		dest = to
	}
	return dest, began
}

// outcome says what has become of one evacuation of an instance on the host.
func (r *reader) outcome(e Evacuation, i nova.Server) (Outcome, Evidence, string) {
	switch {
	case e.unsuccessful():
		return Failed, ByStatus, e.Dest
	case e.Source != r.Host && e.Dest != r.Host:
		return Elsewhere, ByStatus, e.Dest
	case e.Source != r.Host && r.cameSince(e):
		return CameSince, e.dated(), e.Dest
	case e.Source != r.Host:
		return Came, e.dated(), e.Dest
	case e.Status == nova.StatusDone:
		// Nova changes the host before the record, and the records were read first. That an
		// instance has come back to a host that is down is impossible; that its host is not yet
		// seen to have changed is not.
		return Arriving, ByStatus, e.Dest
	case !e.record.Open():
		return Unknown, ByStatus, e.Dest
	}
	if o, by, at := r.lost(e); o != Unknown {
		return o, by, at
	}
	switch {
	case r.endedInError(e, i):
		return InError, ByInstance, e.Dest
	case e.Dest != "":
		return r.named(e, i)
	}
	return r.unnamed(e, i)
}

// lost gives GivenUp or Lost to an evacuation that came to an end of which Nova says nothing,
// and Unknown to every other.
//
// The conductor gives up when the scheduler does not answer, and writes that into an event
// only. And a nova-compute that is stopping takes messages with it (both seen on Nova 26.2).
// It takes them in the order in which they came, so one that was sent later and that it has
// begun shows that it will not take this one any more. It is given some time all the same,
// for a broker may deliver a message again that was not acknowledged.
func (r *reader) lost(e Evacuation) (Outcome, Evidence, string) {
	switch {
	case !e.untaken(), !e.Course.Taken.IsZero():
		return Unknown, ByStatus, ""
	case e.Course.GivenUp:
		return GivenUp, ByEvents, ""
	case e.Course.Sent.IsZero(), r.now.Sub(e.Course.Sent) < queueTime:
		return Unknown, ByStatus, ""
	}
	to := cmp.Or(e.Dest, r.headedFor(e.record.Instance))
	if to == "" || !r.services[to].Up {
		return Unknown, ByStatus, ""
	}
	for _, later := range r.evacuations {
		if later.record.Instance != e.record.Instance && r.takenAfter(later, to, e.Course.Sent) {
			return Lost, ByLater, to
		}
	}
	return Unknown, ByStatus, ""
}

// takenAfter answers whether an evacuation was sent to a host after the given moment, and was
// taken there.
func (r *reader) takenAfter(e Evacuation, host string, sent Time) bool {
	taken := e.Status == nova.StatusPreMigrating || e.Status == nova.StatusDone
	return e.Dest == host && taken && e.Created.After(sent.Add(clockMargin)) && r.now.Sub(e.Updated) > clockMargin
}

// endedInError answers whether the instance itself shows that its evacuation is over. Nova
// clears the task and says error when a rebuild has failed; an operator does, with
// os-resetState, to say that one is stuck. Of one that was sent only now the operator does
// not know yet.
func (r *reader) endedInError(e Evacuation, i nova.Server) bool {
	return inError(i) && (r.age(e) > answerTime || e.Course.Failed)
}

// named is the outcome of an open evacuation whose record names a destination. Accepted with
// a destination is one that was asked for by name: the scheduler has still to look whether
// it lives.
func (r *reader) named(e Evacuation, i nova.Server) (Outcome, Evidence, string) {
	begun := !e.untaken() || !e.Course.Taken.IsZero()
	switch {
	case r.dead(e.Dest):
		return r.down(e, begun), ByService, e.Dest
	case e.Status == nova.StatusPreMigrating && i.TaskState == "" && !inError(i):
		return Arriving, ByInstance, e.Dest
	case begun && e.untaken():
		return AtWork, ByEvents, e.Dest
	case e.Status == nova.StatusAccepted:
		return Queued, ByStatus, e.Dest
	}
	return AtWork, ByStatus, e.Dest
}

// down is the outcome of an open evacuation whose destination is forced down.
func (r *reader) down(e Evacuation, begun bool) Outcome {
	switch {
	case !begun && r.queued(e):
		return QueuedDown
	case r.takenAfterFencing(e):
		return TakenSince
	}
	return DestinationDead
}

// unnamed is the outcome of an open evacuation whose record names no destination.
func (r *reader) unnamed(e Evacuation, i nova.Server) (Outcome, Evidence, string) {
	to := r.headedFor(e.record.Instance)
	switch {
	case r.headedForDead(e):
		return DestinationDead, ByPlacement, to
	case e.Status == nova.StatusAccepted && i.TaskState == "" && r.age(e) > staleAccepted:
		return Stale, ByInstance, ""
	case !e.Course.Taken.IsZero():
		return AtWork, ByEvents, to
	case !e.Course.Sent.IsZero():
		return Queued, ByEvents, to
	case e.Status == nova.StatusPreMigrating:
		return AtWork, ByStatus, to
	}
	return WithConductor, ByStatus, ""
}

// queued answers whether an evacuation that no destination has taken may still come to
// something although its destination is dead: the conductor has it, or it waits for the
// destination and is left there for a while.
func (r *reader) queued(e Evacuation) bool {
	switch {
	case !e.Course.Traced:
		return true
	case !e.Course.GivenUp && e.Course.Sent.IsZero():
		return r.age(e) < conductorTime
	}
	limit := queueTime
	for _, host := range append(slices.Clone(r.Headed[e.record.Instance]), e.Dest) {
		if r.Back[host] {
			limit = bootTime
		}
	}
	return r.now.Sub(e.Course.Sent) < limit
}

// takenAfterFencing answers whether a destination that is forced down has taken an evacuation
// after it was fenced: it was powered on again, its nova-compute has found the message that
// waited for it, and works on it (seen on Nova 26.2).
func (r *reader) takenAfterFencing(e Evacuation) bool {
	fenced, known := r.Clock.fencedBy(r.services[e.Dest].DisabledReason)
	if !known {
		return false
	}
	taken := e.Updated
	if e.untaken() {
		// The source's nova-compute was started, and wrote the record last; or the destination
		// has written another one, for they cross. When it began only the events tell.
		if !e.Course.Traced {
			return e.Status == nova.StatusCompleted && taken.After(fenced.at)
		}
		taken = e.Course.Taken
	}
	// Both are whole seconds. In the same second it may have been either before the host died
	// or after: it is given its time.
	switch since := taken.Sub(fenced.at); {
	case since >= time.Second:
		return true
	case since > -time.Second:
		return r.now.Sub(taken) < sameSecond
	}
	return false
}

// headedFor names the one host but the source on which an instance has room set aside.
func (r *reader) headedFor(instance string) string {
	headed := r.Headed[instance]
	if n := slices.Index(headed, r.Host); n >= 0 && len(headed) == 2 {
		return headed[1-n]
	}
	return ""
}

// headedForDead answers whether placement has set aside room for an evacuation only on hosts
// that are dead, apart from the source itself. The scheduler is given its time to choose.
func (r *reader) headedForDead(e Evacuation) bool {
	if r.queued(e) {
		return false
	}
	others := 0
	for _, host := range r.Headed[e.record.Instance] {
		if host == r.Host || r.leftOver(host, e.Created) {
			continue
		}
		if !r.dead(host) {
			return false
		}
		others++
	}
	return others > 0
}

// leftOver answers whether room on a host is that of an earlier evacuation than the one that
// was accepted at a time: until nova-compute of the host that it came from runs again, an
// instance holds room there, and a host that was dead already cannot be a destination.
func (r *reader) leftOver(host string, accepted Time) bool {
	return r.dead(host) && Stamp(r.services[host].Updated).Before(accepted.Add(-heartbeatLife))
}

// dead answers whether somebody told Nova that a host is off. Nova believes it, and so does
// this package. A host that merely does not answer may still be at work.
func (r *reader) dead(host string) bool { return host != "" && r.services[host].ForcedDown }

// cameSince answers whether an evacuation has brought its instance to the host after that was
// fenced: the host was powered on again and took up the message that waited for it. The
// record becomes done only after that.
func (r *reader) cameSince(e Evacuation) bool {
	switch {
	case !r.mayHaveCome(e):
		return false
	case e.Status != nova.StatusCompleted:
		return true
	case e.Course.Ended.IsZero():
		// Records cross, and its events are those of another one. Of a host that nobody has
		// seen on since its fencing that is no sign of an arrival.
		return r.SeenOn
	}
	return r.fenced.Over(e.Course.Ended)
}

// mayHaveCome answers whether a record alone speaks for an arrival after the fencing. One that
// is completed was written by its source's nova-compute last, at its start, and is to be
// traced.
func (r *reader) mayHaveCome(e Evacuation) bool {
	return e.Dest == r.Host && !e.unsuccessful() && r.fenced.Over(e.Updated)
}

// age is how old a record is.
func (r *reader) age(e Evacuation) time.Duration { return r.now.Sub(e.Created) }

// unsuccessful answers whether a record says itself that its evacuation failed.
func (e Evacuation) unsuccessful() bool {
	return e.Status == nova.StatusError || e.Status == nova.StatusFailed
}

// untaken answers whether, as far as the record says, no destination has begun.
func (e Evacuation) untaken() bool {
	return e.Status == nova.StatusAccepted || e.Status == nova.StatusCompleted
}

// short answers whether the record is short of completed, so that a start of the source's
// nova-compute would destroy the instance's guest there.
func (e Evacuation) short() bool {
	return e.Status == nova.StatusDone || e.Status == nova.StatusAccepted || e.Status == nova.StatusPreMigrating
}

// dated is what tells when an instance came to the host.
func (e Evacuation) dated() Evidence {
	if e.Status == nova.StatusCompleted && e.Course.Traced {
		return ByEvents
	}
	return ByStatus
}
