package evacuate

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nova-evac/nova-evac/pkg/heartbeat"
	"github.com/nova-evac/nova-evac/pkg/history"
	"github.com/nova-evac/nova-evac/pkg/identity"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/ownership"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// situation looks at Nova, and asks what one look leaves open, so that everything is known
// that a decision needs.
func (e *Evacuation) situation(ctx context.Context) (s Situation, err error) {
	look, err := e.look(ctx)
	if err != nil {
		return s, err
	}
	if err := e.compareWitness(ctx, look.Services); err != nil {
		return s, err
	}
	e.noteHeartbeats(look.Services)
	source := e.source()
	look.Now, look.Clock = e.Now(), e.clock()
	look.SeenOn, look.Back = source != SourceOff, e.back(look.Services)
	s = Situation{
		Now: look.Now, Reason: e.Witness.Reason(), Heartbeat: e.heartbeat, Source: source,
		Doubt: e.Doubt, DoubtUntil: e.doubtUntil, FailedOnRecord: e.onRecord, WasDown: e.wasDown,
		History: history.Read(look), Attempts: e.Ledger.attempts(), NoAnswer: e.unanswered(),
	}
	e.noteArrivals(s)
	e.noteOrphans(s)
	s.Attempts = Learn(s, e.Policy)
	if e.moreCapacity(look.Services) {
		s.Attempts = withoutPauses(s.Attempts)
	}
	e.Ledger.learned(s.Attempts)
	return e.answer(ctx, look, s)
}

// answer asks what a situation leaves open, and gives the situation with the answers. A
// question that is not answered concerns its instance alone.
func (e *Evacuation) answer(ctx context.Context, look history.Look, s Situation) (_ Situation, err error) {
	questions := Ask(s, e.Policy)
	if len(questions.Headed)+len(questions.Trace)+len(questions.Everywhere) == 0 {
		return s, nil
	}
	look.Headed = e.headed(ctx, questions.Headed)
	look.Everywhere = e.everywhere(ctx, questions.Everywhere)
	look.Courses = e.trace(ctx, questions.Trace)
	if err := ctx.Err(); err != nil {
		return s, err
	}
	s.History, s.NoAnswer = history.Read(look), e.unanswered()
	s.Attempts = Learn(s, e.Policy)
	e.Ledger.learned(s.Attempts)
	return s, nil
}

// clock leads from our clock to Nova's.
func (e *Evacuation) clock() history.Clock { return history.Clock{Ahead: e.Nova.Skew()} }

// noteHeartbeats notes what the heartbeats of the host's nova-compute say.
func (e *Evacuation) noteHeartbeats(services []nova.Service) {
	e.heartbeat = heartbeat.Silent
	if service, found := find(services, e.Host); found {
		e.heartbeat = e.heartbeats.Look(service, e.fenced(), e.Now())
		// Long after the fencing only a heartbeat moves a service of which Nova knows no more
		// than the hook told it, or a request of somebody else.
		told, ours := record.ParseReason(service.DisabledReason)
		late := e.clock().Fenced(e.fenced()).OverBy(e.Policy.APITime, history.Stamp(service.Updated))
		if !e.told && service.ForcedDown && ours && told.Claim == "" && late {
			e.suspect = e.Now().Add(heartbeat.Life)
		}
	}
	if e.Now().Before(e.suspect) {
		e.heartbeat = max(e.heartbeat, heartbeat.Moved)
	}
}

// source is what is known of the host's power now.
func (e *Evacuation) source() Source {
	switch {
	case e.Source != nil:
		return e.Source(e.heartbeat)
	case e.heartbeat == heartbeat.Alive:
		return SourceRuns
	case e.heartbeat == heartbeat.Moved:
		return SourceUnsure
	}
	return SourceOff
}

func (e *Evacuation) back(services []nova.Service) map[string]bool {
	if e.Back == nil {
		return nil
	}
	return e.Back(services)
}

func find(services []nova.Service, host string) (nova.Service, bool) {
	at := slices.IndexFunc(services, func(s nova.Service) bool { return s.Host == host })
	if at < 0 {
		return nova.Service{}, false
	}
	return services[at], true
}

// compareWitness compares the claim that Nova's service record of the host names with ours.
func (e *Evacuation) compareWitness(ctx context.Context, services []nova.Service) error {
	service, _ := find(services, e.Host)
	found, ours := record.ParseReason(service.DisabledReason)
	witness := &found
	if !ours {
		witness = nil
	}
	mine := ownership.Mine{Unseen: InDoubt(e.Policy, 0), Claim: &ownership.Claim{Witness: e.Witness, Prior: e.Prior, ReadBack: e.wasDown, Compared: e.compared}}
	verdict := ownership.Reconcile(mine, ownership.Stored{}, witness, nil)
	if verdict.Action == ownership.Correct {
		return &SupersededError{e.Host, found}
	}
	if more := verdict.Doubt; more > 0 {
		if err := e.AddDoubt(ctx, more); err != nil {
			return err
		}
		e.Log.Warnf("Nova knows of a claim, %s, that the record has lost: %d more instances are in doubt", found.Claim, more)
		e.Doubt += more
		e.doubtUntil = e.Now().Add(e.Policy.APITime)
	}
	e.compared = true
	return nil
}

// fenced is when the host was off for sure, by this machine's clock: when the record says, but
// never later than the evacuation began.
func (e *Evacuation) fenced() time.Time {
	if e.Witness.Since.After(e.began) {
		return e.began
	}
	return e.Witness.Since
}

// look takes a look at Nova. Records before instances: see history.Look.
func (e *Evacuation) look(ctx context.Context) (history.Look, error) {
	s := history.Look{Since: e.fenced(), Began: e.Now()}
	services, err := e.Nova.Services(ctx)
	if err != nil {
		return s, err
	}
	s.Host, s.Services = e.Host, identity.Distinct(services)
	if _, listed := find(s.Services, e.Host); !listed {
		return s, &nova.Error{Op: "find the nova-compute of host " + e.Host, Kind: nova.ErrNotFound, Message: "Nova lists it no more"}
	}
	if s.Evacuations, err = e.Nova.Evacuations(ctx, e.Host, e.clock().Fenced(s.Since).Records()); err != nil {
		return s, err
	}
	s.Servers, err = e.Nova.Servers(ctx, e.Host)
	return s, err
}

// headed gives the hosts on which placement has set room aside for instances.
func (e *Evacuation) headed(ctx context.Context, ids []string) map[string][]string {
	headed := map[string][]string{}
	var away error
	for _, id := range ids {
		e.asked(question{id, askRoom}, &away, func() error {
			hosts, err := e.Nova.Destinations(ctx, id)
			if err == nil || errors.Is(err, nova.ErrNotFound) {
				headed[id] = hosts
			}
			return err
		})
	}
	return headed
}

// everywhere gives all evacuation records of instances.
func (e *Evacuation) everywhere(ctx context.Context, ids []string) map[string][]nova.Migration {
	records := map[string][]nova.Migration{}
	var away error
	for _, id := range ids {
		e.asked(question{id, askRecords}, &away, func() (err error) {
			records[id], err = e.Nova.EvacuationsOf(ctx, id)
			return err
		})
	}
	return records
}

// trace gives the courses of evacuations. Each is asked for once in a while only.
func (e *Evacuation) trace(ctx context.Context, evacuations []nova.Migration) map[int]nova.Course {
	was := e.courses
	e.courses = map[int]traced{}
	courses := map[int]nova.Course{}
	var away error
	for _, m := range evacuations {
		known, is := was[m.ID]
		if !is || e.Now().Sub(known.at) > traceEvery {
			e.asked(question{m.Instance, askEvents}, &away, func() error {
				course, err := e.Nova.Course(ctx, m.Instance, m.Created)
				if err == nil || errors.Is(err, nova.ErrNotFound) {
					known, is = traced{course, e.Now()}, true
				}
				return err
			})
		}
		if is {
			e.courses[m.ID], courses[m.ID] = known, known.course
		}
	}
	return courses
}

// asked asks a question, unless it was not answered a moment ago, and notes where it is not
// answered. away is set by a question that reached nobody: the others of its kind are not
// asked then, for each could take as long as a request may.
func (e *Evacuation) asked(q question, away *error, ask func() error) {
	before, noted := e.noAnswer[q]
	if noted && e.Now().Sub(before.at) <= traceEvery {
		return
	}
	err := *away
	if err == nil {
		err = ask()
	}
	if err == nil || errors.Is(err, nova.ErrNotFound) {
		delete(e.noAnswer, q)
		return
	}
	if errors.Is(err, nova.ErrNotSent) || errors.Is(err, nova.ErrUnknownOutcome) {
		*away = err
	}
	if !noted || before.err.Error() != err.Error() {
		e.Log.WithField("instance", q.instance).Warnf("it waits: %v", err)
	}
	e.noAnswer[q] = noAnswer{err, e.Now()}
}

// unanswered are the instances about which a question was not answered a moment ago whose
// answer would keep them from being sent. The room that placement has set aside only tells
// that an evacuation is over; without it the evacuation counts as under way.
func (e *Evacuation) unanswered() map[string]error {
	errs := map[string]error{}
	for q, n := range e.noAnswer {
		if q.kind != askRoom && e.Now().Sub(n.at) <= traceEvery {
			errs[q.instance] = n.err
		}
	}
	return errs
}

// moreCapacity answers whether a compute host can be used that could not at the last look.
func (e *Evacuation) moreCapacity(services []nova.Service) bool {
	now, more := map[string]bool{}, false
	for _, s := range services {
		if history.Usable(s) {
			now[s.Host] = true
			more = more || !e.usable[s.Host]
		}
	}
	more = more && e.usable != nil
	e.usable = now
	return more
}

// withoutPauses are the attempts with every pause ended.
func withoutPauses(attempts map[string]Attempt) map[string]Attempt {
	ended := map[string]Attempt{}
	for id, a := range attempts {
		a.NotBefore = time.Time{}
		ended[id] = a
	}
	return ended
}
