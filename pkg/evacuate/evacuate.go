// Package evacuate carries the instances of one dead compute host to other hosts.
//
// Package history says what a look at Nova means. Decide, a pure function, decides over that;
// Evacuation, a thin loop, asks and sends. The loop remembers only its own requests: a new
// owner needs the host's record and a look at Nova, nothing else.
package evacuate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/nova-evac/nova-evac/pkg/history"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/ownership"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// Nova is what an evacuation asks of Nova. *nova.Client is one.
type Nova interface {
	Services(ctx context.Context) ([]nova.Service, error)
	ForceDown(ctx context.Context, service nova.Service, reason string) error
	Servers(ctx context.Context, host string) ([]nova.Server, error)
	Rebuilding(ctx context.Context, host string) ([]string, error)
	Evacuations(ctx context.Context, host string, since time.Time) ([]nova.Migration, error)
	Evacuate(ctx context.Context, id, dest string) error
	Reset(ctx context.Context, id string) error
	WasStopped(ctx context.Context, id string) (bool, error)
	Stop(ctx context.Context, id string) error
	Destinations(ctx context.Context, id string) ([]string, error)
	Course(ctx context.Context, id string, created time.Time) (nova.Course, error)
	Skew() time.Duration
}

// Progress is what an evacuation reports after every look at Nova.
type Progress struct {
	Total, Done, Failed, Skipped, InFlight int
	Wait                                   string
	// Held counts the instances that are not sent because they may run on the host, and
	// Source is why; Begun is true where others were sent in this generation.
	Held   int
	Source Source
	Begun  bool
	// Instances are the verdicts on what is still on the host.
	Instances []Instance
}

// Evacuation carries one host through. Its fields are set before Run.
type Evacuation struct {
	// Host, Witness and Doubt are those of the host's record, as claimed; Prior is the
	// claim that stood in it before.
	Host    string
	Witness record.Witness
	Prior   string
	Doubt   int
	// Domain is the DNS domain of Nova's host names, where the record has short ones.
	Domain string

	Nova   Nova
	Policy Policy
	// Poll is the least pause between two looks at Nova while something is under way.
	// It is asked for each pause: whoever carries many hosts at once looks less often.
	Poll func() time.Duration
	// Now is the clock.
	Now func() time.Time
	// May is asked before every request that changes something; an error holds it
	// back and says why.
	May func() error
	// Source says what is known of the host's power, given what the heartbeats of its
	// nova-compute say. It is asked at every look, and before anything is sent; it must not
	// wait. nil: nothing but the heartbeats is known.
	Source func(nova.Beat) Source
	// Back names, by Nova's names, the other hosts that were fenced, are on again, and were
	// not let in yet. nil: nobody knows of any.
	Back func([]nova.Service) map[string]bool
	// Report is told of all progress, and returns how many failed instances the
	// host's record shows.
	Report func(Progress) (failedOnRecord int)
	// Distrust is called when Nova shows that somebody has been at work of whom the
	// record knows nothing: so many more instances are in doubt. Nothing is sent before
	// it has returned nil, which means that the record says so.
	Distrust func(ctx context.Context, more int) error
	Log      *logrus.Entry

	words      func(Plan, Situation) string // Words, unless a test wants none made
	novaHost   string
	doubtUntil time.Time
	onRecord   int
	attempts   map[string]Attempt
	courses    map[int]traced // by the ids of evacuation records
	answers    chan answer
	pending    int
	usable     map[string]bool
	told       bool // Nova was told that the host is down, and under which claim
	wasDown    bool // and that was read back
	pulse      nova.Pulse
	beat       nova.Beat
	suspect    time.Time // until when it is unsure whether the host has run since its fencing
	trusted    bool      // the witness in Nova was looked at
	complained string
	last       Progress

	// What the last look left to the glances after it, see glide.
	queue    []Send
	inFlight map[string]bool
	newest   map[string]int
	refused  bool
	arrived  map[string]bool // instances that have left and are to be stopped
	sentAt   map[string]time.Time
	orphaned []string      // of whom a guest may be left where nobody looks, in words
	typical  time.Duration // how long a rebuild takes, smoothed
}

type answer struct {
	id  string
	err error
}

// traced is what the events of an evacuation said at a moment.
type traced struct {
	course nova.Course
	at     time.Time
}

// Bounds of the loop.
const (
	// traceEvery is how often the events of one evacuation are asked for.
	traceEvery = 15 * time.Second
	// idlePoll is the pause between two looks while all that is left waits for its
	// pause to end: new capacity must be noticed within seconds.
	idlePoll = 3 * time.Second
	// maxTrouble is the longest pause between two looks that fail.
	maxTrouble = 10 * time.Second
	// drain is how long an evacuation that is stopped waits for the answers to what
	// it has sent. It leaves the agent's stop, 20 seconds in the field, room enough.
	drain = 8 * time.Second
)

// ErrUnanswered is what Run returns, besides ctx's error, when it had to leave
// requests without an answer: the next owner must hold them for possible.
var ErrUnanswered = errors.New("requests are still without an answer")

// SupersededError is what Run ends with when Nova says that somebody else has the
// host, or that it was fenced again: the record has lost that.
type SupersededError struct {
	Host  string
	Found record.Witness
}

// Error says who.
func (e *SupersededError) Error() string {
	return fmt.Sprintf("evacuate host %s: Nova says that generation %d was claimed as %s: the record has lost that", e.Host, e.Found.Gen, e.Found.Claim)
}

// ErrReturned is what Run returns where the host was on again before Nova was told that it
// is down, or was let in meanwhile: it needs nothing any more but to be enabled.
var ErrReturned = errors.New("the host is up, and nothing is left to evacuate")

// Run returns nil when nothing is left to evacuate, and ErrReturned. Otherwise it goes on until ctx
// ends: a host is never given up.
func (e *Evacuation) Run(ctx context.Context) error {
	if e.words == nil {
		e.words = Words
	}
	e.pulse = nova.Pulse{}
	e.attempts, e.sentAt, e.arrived = map[string]Attempt{}, map[string]time.Time{}, map[string]bool{}
	e.answers = make(chan answer, e.Policy.MaxInFlight)
	if e.Doubt > 0 {
		e.doubtUntil = e.Now().Add(e.Policy.APITime)
	}
	trouble := 0
	for {
		pause, settled, err := e.step(ctx)
		var superseded *SupersededError
		switch {
		case errors.As(err, &superseded), errors.Is(err, ErrReturned):
			return errors.Join(err, e.drained())
		case ctx.Err() != nil:
			return e.stopped(ctx)
		case settled:
			return nil
		case err != nil:
			pause = max(min(e.Poll()<<min(trouble, 8), maxTrouble), e.Poll())
			trouble++
			e.complain(err)
		default:
			trouble = 0
			e.complain(nil)
			if len(e.queue) > 0 {
				pause = e.glide(ctx, pause)
			}
		}
		if !e.wait(ctx, pause) {
			return e.stopped(ctx)
		}
	}
}

// DoubtOver is true once no request of an owner before can be under way.
func (e *Evacuation) DoubtOver() bool { return e.Doubt == 0 || !e.Now().Before(e.doubtUntil) }

// step looks once and acts on it. It returns the pause until the next look.
func (e *Evacuation) step(ctx context.Context) (pause time.Duration, settled bool, err error) {
	began := e.Now()
	s, err := e.situation(ctx)
	if err != nil {
		return 0, false, err
	}
	plan := Decide(s, e.Policy)
	if plan.LetIn {
		return 0, false, fmt.Errorf("evacuate host %s: %w", e.Host, ErrReturned)
	}
	if !e.wasDown && plan.Service.ForcedDown && !plan.ForceDown {
		e.wasDown = true
		e.pulse = nova.Pulse{} // what moved until now was Nova being told
	}
	e.newest = newest(s.History)
	if err := e.act(ctx, plan); err != nil {
		return 0, false, err
	}
	e.report(plan, s)
	e.enqueue(plan)
	if err := e.stopArrivals(ctx); err != nil {
		return 0, false, err
	}
	if plan.ForceDown && !e.told {
		e.told = true
		return 0, false, nil // read back at once
	}
	return e.pause(plan, e.Now().Sub(began)), plan.Settled, nil
}

// situation looks at Nova, and asks what one look leaves open, so that everything is known
// that a decision needs.
func (e *Evacuation) situation(ctx context.Context) (s Situation, err error) {
	look, err := e.look(ctx)
	if err != nil {
		return s, err
	}
	if err := e.heed(ctx, look.Services); err != nil {
		return s, err
	}
	e.feel(look.Services)
	source := e.source()
	look.Now, look.Clock = e.Now(), e.clock()
	look.SeenOn, look.Back = source != SourceOff, e.back(look.Services)
	s = Situation{
		Now: look.Now, Reason: e.Witness.Reason(), Beat: e.beat, Source: source,
		Doubt: e.Doubt, DoubtUntil: e.doubtUntil, FailedOnRecord: e.onRecord, WasDown: e.wasDown,
		History: history.Read(look), Attempts: e.attempts,
	}
	e.noteArrivals(s)
	e.noteOrphans(s)
	e.attempts = Learn(s, e.Policy)
	e.retryOnNewCapacity(look.Services)
	s.Attempts = e.attempts
	return e.answer(ctx, look, s)
}

// answer asks what a situation leaves open, and gives the situation with the answers.
func (e *Evacuation) answer(ctx context.Context, look history.Look, s Situation) (_ Situation, err error) {
	questions := Ask(s, e.Policy)
	if len(questions.Headed)+len(questions.Trace) == 0 {
		return s, nil
	}
	if look.Headed, err = e.headed(ctx, questions.Headed); err != nil {
		return s, err
	}
	if look.Courses, err = e.trace(ctx, questions.Trace); err != nil {
		return s, err
	}
	s.History = history.Read(look)
	e.attempts = Learn(s, e.Policy)
	s.Attempts = e.attempts
	return s, nil
}

// clock leads from our clock to Nova's.
func (e *Evacuation) clock() history.Clock { return history.Clock{Ahead: e.Nova.Skew()} }

// feel notes what the heartbeats of the host's nova-compute say.
func (e *Evacuation) feel(services []nova.Service) {
	e.beat = nova.Silent
	if service, found := find(services, e.novaHost); found {
		e.beat = e.pulse.Feel(service, e.Witness.Since, e.Now())
		// Long after the fencing only a heartbeat moves a service of which Nova knows no more
		// than the hook told it, or a request of somebody else.
		told, ours := record.ParseReason(service.DisabledReason)
		late := e.clock().Fenced(e.Witness.Since).OverBy(e.Policy.APITime, history.Stamp(service.Updated))
		if !e.told && service.ForcedDown && ours && told.Claim == "" && late {
			e.suspect = e.Now().Add(nova.BeatLife)
		}
	}
	if e.Now().Before(e.suspect) {
		e.beat = max(e.beat, nova.Moved)
	}
}

// source is what is known of the host's power now.
func (e *Evacuation) source() Source {
	switch {
	case e.Source != nil:
		return e.Source(e.beat)
	case e.beat == nova.Alive:
		return SourceRuns
	case e.beat == nova.Moved:
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

// heed compares what Nova's service record says of the host's claims with ours.
func (e *Evacuation) heed(ctx context.Context, services []nova.Service) error {
	service, _ := find(services, e.novaHost)
	found, ours := record.ParseReason(service.DisabledReason)
	witness := &found
	if !ours {
		witness = nil
	}
	mine := ownership.Mine{Unseen: InDoubt(e.Policy, 0), Claim: &ownership.Claim{Witness: e.Witness, Prior: e.Prior, ReadBack: e.wasDown, Compared: e.trusted}}
	verdict := ownership.Reconcile(mine, ownership.Stored{}, witness, nil)
	if verdict.Action == ownership.Correct {
		return &SupersededError{e.Host, found}
	}
	if more := verdict.Doubt; more > 0 {
		if err := e.Distrust(ctx, more); err != nil {
			return err
		}
		e.Log.Warnf("Nova knows of a claim, %s, that the record has lost: %d more instances are in doubt", found.Claim, more)
		e.Doubt += more
		e.doubtUntil = e.Now().Add(e.Policy.APITime)
	}
	e.trusted = true
	return nil
}

// look takes a look at Nova. Records before instances: see history.Look.
func (e *Evacuation) look(ctx context.Context) (history.Look, error) {
	s := history.Look{Since: e.Witness.Since, Began: e.Now()}
	var err error
	if s.Services, err = e.Nova.Services(ctx); err != nil {
		return s, err
	}
	service, err := nova.FindService(s.Services, e.Host, e.Domain)
	if err != nil {
		return s, err
	}
	e.novaHost, s.Host = service.Host, service.Host
	if s.Evacuations, err = e.Nova.Evacuations(ctx, e.novaHost, e.clock().Fenced(s.Since).Records()); err != nil {
		return s, err
	}
	s.Servers, err = e.Nova.Servers(ctx, e.novaHost)
	return s, err
}

// headed gives the hosts on which placement has set room aside for instances.
func (e *Evacuation) headed(ctx context.Context, ids []string) (map[string][]string, error) {
	headed := map[string][]string{}
	for _, id := range ids {
		hosts, err := e.Nova.Destinations(ctx, id)
		if err != nil && !errors.Is(err, nova.ErrNotFound) {
			return nil, err
		}
		headed[id] = hosts
	}
	return headed, nil
}

// trace gives the courses of evacuations. Each is asked for once in a while only.
func (e *Evacuation) trace(ctx context.Context, evacuations []nova.Migration) (map[int]nova.Course, error) {
	was := e.courses
	e.courses = map[int]traced{}
	courses := map[int]nova.Course{}
	for _, m := range evacuations {
		known, asked := was[m.ID]
		if !asked || e.Now().Sub(known.at) > traceEvery {
			course, err := e.Nova.Course(ctx, m.Instance, m.Created)
			if err != nil && !errors.Is(err, nova.ErrNotFound) {
				return nil, err
			}
			known = traced{course, e.Now()}
		}
		e.courses[m.ID], courses[m.ID] = known, known.course
	}
	return courses, nil
}

// retryOnNewCapacity ends all pauses when a compute host has become usable.
func (e *Evacuation) retryOnNewCapacity(services []nova.Service) {
	now, more := map[string]bool{}, false
	for _, s := range services {
		if history.Usable(s) {
			now[s.Host] = true
			more = more || !e.usable[s.Host]
		}
	}
	if more && e.usable != nil {
		for id, a := range e.attempts {
			a.NotBefore = time.Time{}
			e.attempts[id] = a
		}
	}
	e.usable = now
}

// noteArrivals finds the instances that have left the host and are to be stopped.
func (e *Evacuation) noteArrivals(s Situation) {
	listed := listed(s.History)
	for id, a := range e.attempts {
		if a.Stop && !listed[id] && !a.unseen(s.History.Began) {
			e.arrived[id] = true
		}
	}
}

// noteOrphans finds the instances whose user has deleted them while they were rebuilt:
// their records are gone with them. Nova finishes the guest all the same, which nobody
// owns then until the destination's nova-compute reaps it, after half an hour by default
// (seen on Nova 26.2, case J; nova/compute/manager.py, _cleanup_running_deleted_instances).
func (e *Evacuation) noteOrphans(s Situation) {
	listed := listed(s.History)
	for _, i := range e.last.Instances {
		a, sent := e.attempts[i.ID]
		accepted := sent && !a.Refused && !a.unseen(s.History.Began)
		if i.State != Rebuilding && !accepted || listed[i.ID] || s.History.Has(i.ID) {
			continue
		}
		what := deleted(i)
		e.orphaned = append(e.orphaned, what)
		e.Log.WithField("instance", i.ID).Warn(what)
	}
}

// listed are the instances that Nova has on the host.
func listed(h history.History) map[string]bool {
	listed := map[string]bool{}
	for _, i := range h.Instances {
		listed[i.Server.ID] = true
	}
	return listed
}

// stopArrivals stops them. One that Nova refuses to stop, or knows no more, is well.
func (e *Evacuation) stopArrivals(ctx context.Context) error {
	for _, id := range slices.Sorted(maps.Keys(e.arrived)) {
		if err := e.May(); err != nil {
			return err
		}
		err := e.Nova.Stop(ctx, id)
		if err != nil && !errors.Is(err, nova.ErrRefused) && !errors.Is(err, nova.ErrNotFound) {
			return err
		}
		e.Log.WithField("instance", id).Info("stopped again: it was when its host died")
		delete(e.arrived, id)
	}
	return nil
}

// newest are the ids of the newest evacuation records of the instances on the host.
func newest(h history.History) map[string]int {
	newest := map[string]int{}
	for _, i := range h.Instances {
		newest[i.Server.ID] = i.Newest()
	}
	return newest
}

// act tells Nova that the host is down, or sends what is to be sent.
func (e *Evacuation) act(ctx context.Context, plan Plan) error {
	if !plan.ForceDown && len(plan.Send) == 0 {
		return nil
	}
	if plan.ForceDown {
		if err := e.May(); err != nil {
			return err
		}
		e.Log.Infof("telling Nova that %s is down", plan.Service.Host)
		return e.Nova.ForceDown(ctx, plan.Service, e.Witness.Reason())
	}
	for _, send := range plan.Send {
		stop := false
		if send.Again {
			var err error
			if stop, err = e.Nova.WasStopped(ctx, send.ID); err != nil && !errors.Is(err, nova.ErrNotFound) {
				return err
			}
		}
		if err := e.May(); err != nil {
			return err
		}
		if !e.source().Safe() {
			return nil // the next look says why
		}
		e.send(ctx, send, stop)
	}
	return nil
}

// send posts one evacuation in the background. The request outlives ctx: one that
// is on its way is never abandoned before its answer or its own time limit.
func (e *Evacuation) send(ctx context.Context, send Send, stop bool) {
	a := e.attempts[send.ID]
	e.attempts[send.ID] = Attempt{Pending: true, LastRecord: e.newest[send.ID], Failures: a.Failures, Stop: stop || a.Stop}
	e.sentAt[send.ID] = e.Now()
	e.pending++
	go func() {
		ctx := context.WithoutCancel(ctx)
		var err error
		if send.Reset {
			err = e.Nova.Reset(ctx, send.ID) // who dies now leaves it in error, which is evacuated
		}
		if err == nil {
			err = e.Nova.Evacuate(ctx, send.ID, send.Dest)
		}
		e.answers <- answer{send.ID, err}
	}()
}

// answered notes what came of a request.
func (e *Evacuation) answered(got answer) {
	e.pending--
	now := e.Now()
	a := e.attempts[got.id]
	a.Pending, a.Answered = false, now
	log := e.Log.WithField("instance", got.id)
	if got.err == nil {
		log.Info("evacuation accepted")
		e.attempts[got.id] = a
		return
	}
	a.Refused, a.Err = true, reason(got.err)
	e.refused = true
	switch {
	case errors.Is(got.err, nova.ErrUnknownOutcome):
		a.UnknownUntil = now.Add(e.Policy.APITime)
	case errors.Is(got.err, nova.ErrAnswered): // the next look tells
	case errors.Is(got.err, nova.ErrNotFound): // deleted, the next look will not list it
		a.Over = true
	case errors.Is(got.err, nova.ErrNotSent), errors.Is(got.err, nova.ErrSourceInUse):
		// The trouble is not the instance's: no growing pause for it.
		a.Over, a.NotBefore = true, now.Add(e.Policy.RetryMin)
	default:
		a.Over = true
		a.Failures++
		a.NotBefore = now.Add(e.Policy.Pause(a.Failures))
	}
	e.attempts[got.id] = a
	log.Warn(got.err)
}

// report tells of a plan, and puts it in words. The words are made here, when everything is
// decided.
func (e *Evacuation) report(plan Plan, s Situation) {
	p := Progress{
		Done: plan.Done, Total: plan.Done + len(plan.Instances),
		Failed: plan.Count(Failed), Skipped: plan.Count(Skipped),
		InFlight: plan.Count(Sent, Rebuilding) + len(plan.Send),
		Wait:     e.words(plan, s), Instances: plan.Instances,
		Held: plan.Held, Source: s.Source, Begun: plan.Begun,
	}
	if n := len(e.orphaned); n > 0 {
		p.Wait = strings.TrimPrefix(fmt.Sprintf("%s; %d deleted meanwhile, %s", p.Wait, n, e.orphaned[0]), "; ")
	}
	// What failed and is being sent again has not stopped being failed.
	for _, i := range plan.Instances {
		if i.State == Waiting && e.attempts[i.ID].Failures > 0 {
			p.Failed++
		}
	}
	e.last = p
	e.onRecord = e.Report(p)
}

// complain logs and reports trouble once, not at every look.
func (e *Evacuation) complain(err error) {
	text := ""
	if err != nil {
		text = err.Error()
		p := e.last
		p.Wait = text
		e.onRecord = e.Report(p)
	}
	if text != e.complained {
		e.complained = text
		if err != nil {
			e.Log.Warnf("%v; trying again", err)
		} else {
			e.Log.Info("Nova answers again")
		}
	}
}

// pause is how long to wait before the next look. A look that takes long is not
// repeated at once: a big host must not keep nova-api busy with lists.
func (e *Evacuation) pause(plan Plan, took time.Duration) time.Duration {
	pause := max(e.Poll(), took)
	if e.pending == 0 && plan.Count(Sent, Rebuilding) == 0 && len(plan.Send) == 0 {
		pause = max(pause, idlePoll)
	}
	if !plan.Until.IsZero() {
		pause = min(pause, max(plan.Until.Sub(e.Now()), e.Poll()))
	}
	return pause
}

// enqueue leaves to the glances what waits for a slot.
func (e *Evacuation) enqueue(plan Plan) {
	e.queue, e.inFlight, e.refused = nil, map[string]bool{}, false
	sending := map[string]bool{}
	for _, send := range plan.Send {
		sending[send.ID], e.inFlight[send.ID] = true, true
	}
	for id, a := range e.attempts {
		if a.Pending || e.Now().Before(a.UnknownUntil) {
			e.inFlight[id] = true
		}
	}
	for _, i := range plan.Instances {
		switch {
		case i.State == Sent, i.State == Rebuilding:
			e.inFlight[i.ID] = true
		case i.State == Waiting && !sending[i.ID]:
			// Those that failed have been decided on one by one: a look sends them.
			if plan.Sending && e.attempts[i.ID].Failures == 0 && i.Reason == NoReason && !i.Reset {
				e.queue = append(e.queue, Send{ID: i.ID})
			}
		}
	}
}

const (
	// glanceMin is the least pause between two glances, glancesALook how many of them
	// go on one look.
	glanceMin    = 400 * time.Millisecond
	glancesALook = 12
)

// glide fills the slots that become free between two looks. A look costs a page of
// everything; a glance asks only which instances of the host Nova is rebuilding. An
// instance that is not among them any more has left its slot, whatever became of it:
// that the next look tells. It returns when one is due, with the pause until then.
func (e *Evacuation) glide(ctx context.Context, pause time.Duration) time.Duration {
	interval := max(min(e.typical/12, pause*5), glanceMin, e.Poll()/2)
	due := e.Now().Add(max(pause, glancesALook*interval))
	for len(e.queue) > 0 && !e.refused {
		if left := due.Sub(e.Now()); left < interval {
			return max(left, 0)
		}
		if !e.wait(ctx, interval) {
			return 0
		}
		began := e.Now()
		list, err := e.Nova.Rebuilding(ctx, e.novaHost)
		if err != nil {
			return max(min(pause, due.Sub(e.Now())), 0) // the look will meet the same trouble, and say so
		}
		rebuilding := map[string]bool{}
		for _, id := range list {
			rebuilding[id] = true
		}
		for _, id := range slices.Sorted(maps.Keys(e.inFlight)) {
			a, ours := e.attempts[id]
			if rebuilding[id] || ours && (a.Pending || !a.Answered.Before(began) || e.Now().Before(a.UnknownUntil)) {
				continue
			}
			delete(e.inFlight, id)
			if sent, known := e.sentAt[id]; known {
				e.typical += (began.Sub(sent) - e.typical) / 8
				delete(e.sentAt, id)
			}
		}
		for len(e.queue) > 0 && len(e.inFlight) < e.Policy.MaxInFlight && !e.refused {
			next := e.queue[0]
			e.queue = e.queue[1:]
			if rebuilding[next.ID] {
				continue // somebody else's doing
			}
			if e.May() != nil || !e.source().Safe() {
				return 0 // the look will say why
			}
			e.inFlight[next.ID] = true
			e.send(ctx, next, false)
		}
	}
	return max(min(pause, due.Sub(e.Now())), 0)
}

// wait takes in answers for the given time; false means that ctx has ended.
func (e *Evacuation) wait(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case got := <-e.answers:
			e.answered(got)
		case <-timer.C:
			return ctx.Err() == nil
		case <-ctx.Done():
			return false
		}
	}
}

// stopped is what an evacuation ends with that was told to.
func (e *Evacuation) stopped(ctx context.Context) error {
	return errors.Join(fmt.Errorf("evacuate host %s: %w", e.Host, ctx.Err()), e.drained())
}

// drained waits, within a bound, for the answers to what has been sent.
func (e *Evacuation) drained() error {
	timer := time.NewTimer(drain)
	defer timer.Stop()
	for e.pending > 0 {
		select {
		case got := <-e.answers:
			e.answered(got)
		case <-timer.C:
			return fmt.Errorf("%d %w", e.pending, ErrUnanswered)
		}
	}
	for _, a := range e.attempts {
		if e.Now().Before(a.UnknownUntil) {
			return fmt.Errorf("some %w", ErrUnanswered)
		}
	}
	return nil
}
