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
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/nova-evac/nova-evac/pkg/heartbeat"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// Nova is what an evacuation asks of Nova. *nova.Client is one.
type Nova interface {
	// Ready makes sure that a request can be sent at once: a token is there, and the version
	// is known.
	Ready(ctx context.Context) error
	Services(ctx context.Context) ([]nova.Service, error)
	ForceDown(ctx context.Context, service nova.Service, reason string) error
	Servers(ctx context.Context, host string) ([]nova.Server, error)
	Rebuilding(ctx context.Context, host string) ([]string, error)
	Evacuations(ctx context.Context, host string, since time.Time) ([]nova.Migration, error)
	EvacuationsOf(ctx context.Context, id string) ([]nova.Migration, error)
	Evacuate(ctx context.Context, id, dest string) error
	Reset(ctx context.Context, id string) error
	Actions(ctx context.Context, id string) ([]string, error)
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
	// Unanswered counts the instances whose request was sent and is not shown by Nova yet.
	Unanswered int
	// Instances are the verdicts on what is still on the host.
	Instances []Instance
}

// Evacuation carries one host through. Its fields are set before Run.
type Evacuation struct {
	// Host is Nova's name of the host: package identity has found it.
	Host string
	// Witness and Doubt are those of the host's record, as claimed; Prior is the claim that
	// stood in it before.
	Witness record.Witness
	Prior   string
	Doubt   int

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
	Source func(heartbeat.Sign) Source
	// Back names, by Nova's names, the other hosts that were fenced, are on again, and were
	// not let in yet. nil: nobody knows of any.
	Back func([]nova.Service) map[string]bool
	// Report is told of all progress, and returns how many failed instances the
	// host's record shows.
	Report func(Progress) (failedOnRecord int)
	// AddDoubt is called when Nova shows that somebody has been at work of whom the record
	// knows nothing: so many more instances are in doubt. Nothing is sent before it has
	// returned nil, which means that the record says so.
	AddDoubt func(ctx context.Context, more int) error
	// Ledger is this process's account of the host; nil: there is none yet.
	Ledger *Ledger
	Log    *logrus.Entry

	words      func(Plan, Situation) string // Words, unless a test wants none made
	began      time.Time                    // Run
	doubtUntil time.Time
	onRecord   int            // how many failed instances the record shows
	courses    map[int]traced // by the ids of evacuation records
	noAnswer   map[question]noAnswer
	usable     map[string]bool
	told       bool // Nova was told that the host is down, and under which claim
	wasDown    bool // and that was read back
	heartbeats heartbeat.Watch
	heartbeat  heartbeat.Sign
	suspect    time.Time // until when it is unsure whether the host has run since its fencing
	compared   bool      // the witness in Nova was compared with the claim
	trouble    string    // what was last said of looks that fail
	last       Progress
	// sending is the context of the requests that are on their way. It outlives Run's, and ends
	// when abandon is called.
	sending  context.Context
	abandon  context.CancelFunc
	arrived  map[string]bool // instances that have left and are to be stopped
	orphaned []string        // of whom a guest may be left where nobody looks, in words
}

// traced is what the events of an evacuation said at a moment.
type traced struct {
	course nova.Course
	at     time.Time
}

// question is one about one instance.
type question struct {
	instance string
	kind     questionKind
}

type questionKind int

const (
	askRoom questionKind = iota
	askEvents
	askActions
	askRecords
)

// noAnswer is what came instead of an answer, last.
type noAnswer struct {
	err error
	at  time.Time
}

// Bounds of the loop.
const (
	// traceEvery is how often the events of one evacuation are asked for, and how long a
	// question that was not answered is not asked again.
	traceEvery = 15 * time.Second
	// idlePoll is the pause between two looks while all that is left waits for its
	// pause to end: new capacity must be noticed within seconds.
	idlePoll = 3 * time.Second
	// maxTrouble is the longest pause between two looks that fail.
	maxTrouble = 10 * time.Second
	// drain is how long an evacuation that is stopped waits for the answers to what
	// it has sent. It leaves the agent's stop, 20 seconds in the field, room enough.
	drain = 8 * time.Second
	// callBack is how long it then waits for requests that have not left this process to end.
	callBack = time.Second
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
	if e.Ledger == nil {
		e.Ledger = NewLedger(e.Policy)
	}
	e.began = e.Now()
	e.Ledger.begin(e.began)
	e.sending, e.abandon = context.WithCancel(context.WithoutCancel(ctx))
	defer e.abandon()
	e.heartbeats, e.arrived, e.noAnswer = heartbeat.Watch{}, map[string]bool{}, map[question]noAnswer{}
	if e.Doubt > 0 {
		e.doubtUntil = e.Now().Add(e.Policy.APITime)
	}
	failed := 0
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
			pause = max(min(e.Poll()<<min(failed, 8), maxTrouble), e.Poll())
			failed++
			e.noteTrouble(err)
		default:
			failed = 0
			e.noteTrouble(nil)
			pause = e.fillSlots(ctx, pause)
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
		e.heartbeats = heartbeat.Watch{} // what moved until now was Nova being told
	}
	e.Ledger.planned(plan, s.History, e.Now())
	if err := e.act(ctx, plan); err != nil {
		return 0, false, err
	}
	e.report(plan, s)
	if err := e.stopArrivals(ctx); err != nil {
		return 0, false, err
	}
	if plan.ForceDown && !e.told {
		e.told = true
		return 0, false, nil // read back at once
	}
	return e.pause(plan, e.Now().Sub(began)), plan.Settled && len(e.arrived) == 0, nil
}

// report tells of a plan, and puts it in words. The words are made here, when everything is
// decided.
func (e *Evacuation) report(plan Plan, s Situation) {
	p := Progress{
		Done: plan.Done, Total: plan.Done + len(plan.Instances),
		Failed: plan.Count(Failed), Skipped: plan.Count(Skipped),
		InFlight: plan.Count(Sent, Rebuilding) + len(plan.Send),
		Wait:     e.words(plan, s), Instances: plan.Instances,
		Held: plan.Held, Source: s.Source, Begun: plan.Begun, Unanswered: plan.Count(Sent),
	}
	if n := len(e.orphaned); n > 0 {
		p.Wait = strings.TrimPrefix(fmt.Sprintf("%s; %d deleted meanwhile, %s", p.Wait, n, e.orphaned[0]), "; ")
	}
	if n := len(e.arrived); n > 0 {
		p.Wait = strings.TrimPrefix(fmt.Sprintf("%s; %d to be stopped again, as they were when the host died", p.Wait, n), "; ")
	}
	// What failed and is being sent again has not stopped being failed.
	for _, i := range plan.Instances {
		if i.State == Waiting && s.Attempts[i.ID].Failures > 0 {
			p.Failed++
		}
	}
	e.last = p
	e.onRecord = e.Report(p)
}

// noteTrouble logs and reports why looks fail, once and not at every look.
func (e *Evacuation) noteTrouble(err error) {
	text := ""
	if err != nil {
		text = err.Error()
		p := e.last
		p.Wait = text
		e.onRecord = e.Report(p)
	}
	if text != e.trouble {
		e.trouble = text
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
	if e.Ledger.out == 0 && plan.Count(Sent, Rebuilding) == 0 && len(plan.Send) == 0 {
		pause = max(pause, idlePoll)
	}
	if !plan.Until.IsZero() {
		pause = min(pause, max(plan.Until.Sub(e.Now()), e.Poll()))
	}
	return pause
}

// wait takes in answers for the given time; false means that ctx has ended.
func (e *Evacuation) wait(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case got := <-e.Ledger.answers:
			e.answered(got)
		case <-timer.C:
			return ctx.Err() == nil
		case <-ctx.Done():
			return false
		}
	}
}

// answered takes in what came of a request.
func (e *Evacuation) answered(got answer) {
	e.Ledger.answered(got, e.Policy, e.Now())
	log := e.Log.WithField("instance", got.id)
	if got.err != nil {
		log.Warn(got.err)
		return
	}
	log.Info("evacuation accepted")
}

// stopped is what an evacuation ends with that was told to.
func (e *Evacuation) stopped(ctx context.Context) error {
	return errors.Join(fmt.Errorf("evacuate host %s: %w", e.Host, ctx.Err()), e.drained())
}

// drained waits, within a bound, for the answers to what has been sent. Then it calls back
// what has not left this process.
func (e *Evacuation) drained() error {
	e.await(drain)
	e.abandon()
	e.await(callBack)
	if e.Ledger.Open(e.Now()) {
		return fmt.Errorf("some %w", ErrUnanswered)
	}
	return nil
}

// await waits for the answers that are out, no longer than the limit.
func (e *Evacuation) await(limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for e.Ledger.out > 0 {
		select {
		case got := <-e.Ledger.answers:
			e.answered(got)
		case <-timer.C:
			return
		}
	}
}
