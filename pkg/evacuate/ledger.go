package evacuate

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/nova-evac/nova-evac/pkg/history"
	"github.com/nova-evac/nova-evac/pkg/nova"
)

// Ledger is the account of what this process has sent for the instances of one host. It
// alone answers whether a slot is free, and whether an instance may be sent.
//
// It belongs to the process: an evacuation that ends leaves its open requests to the next
// one for the same host. When the process dies the ledger is lost, and the order of sending
// covers what was in it (see Situation.Doubt). One evacuation at a time uses it.
type Ledger struct {
	entries map[string]*entry
	queue   []string // instances that may be sent before the next look, in order
	answers chan answer
	out     int  // requests without an answer
	refused bool // an answer since the last look was not a yes
	// typical is how long an instance stays in its slot, smoothed.
	typical time.Duration
}

// entry is what the ledger has of one instance.
type entry struct {
	attempt Attempt
	tried   bool      // there is an attempt
	slot    bool      // it is in flight, as far as is known
	sent    time.Time // when it was sent, while it is in flight
	newest  int       // the newest of its evacuation records at the last look
}

// answer is what came of a request.
type answer struct {
	id  string
	err error
}

// NewLedger is an empty account for evacuations by a policy.
func NewLedger(p Policy) *Ledger {
	return &Ledger{entries: map[string]*entry{}, answers: make(chan answer, p.MaxInFlight)}
}

// Open answers whether a request may be under way of which the ledger does not know the end.
func (l *Ledger) Open(now time.Time) bool {
	for _, e := range l.entries {
		if e.attempt.open(now) {
			return true
		}
	}
	return l.out > 0
}

// open answers whether the request has no answer, or may be under way although its answer
// was lost.
func (a Attempt) open(now time.Time) bool { return a.Pending || now.Before(a.UnknownUntil) }

// of is the entry of an instance.
func (l *Ledger) of(id string) *entry {
	if l.entries[id] == nil {
		l.entries[id] = &entry{}
	}
	return l.entries[id]
}

// begin opens the ledger for another evacuation. What is known of requests that are over is
// forgotten, as a new owner would know nothing of them.
func (l *Ledger) begin(now time.Time) {
	before := l.entries
	l.entries, l.queue, l.refused = map[string]*entry{}, nil, false
	for id, e := range before {
		if e.attempt.open(now) {
			e.attempt.Earlier = true
			l.entries[id] = &entry{attempt: e.attempt, tried: true}
		}
	}
}

// attempts are all requests, by instance.
func (l *Ledger) attempts() map[string]Attempt {
	all := map[string]Attempt{}
	for id, e := range l.entries {
		if e.tried {
			all[id] = e.attempt
		}
	}
	return all
}

// learned takes in the attempts as Learn completed them.
func (l *Ledger) learned(attempts map[string]Attempt) {
	for id, e := range l.entries {
		e.attempt, e.tried = attempts[id], false
		if _, known := attempts[id]; known {
			e.tried = true
		}
	}
}

// planned takes in a look and the plan that was made of it: which slots are taken, and what
// may be sent as soon as one is free.
func (l *Ledger) planned(plan Plan, h history.History, now time.Time) {
	l.queue, l.refused = nil, false
	for _, e := range l.entries {
		e.slot = e.attempt.open(now)
	}
	for _, i := range h.Instances {
		l.of(i.Server.ID).newest = i.Newest()
	}
	for _, send := range plan.Send {
		l.of(send.ID).slot = true
	}
	for n, i := range plan.Instances {
		switch e := l.of(i.ID); {
		case i.State == Sent, i.State == Rebuilding:
			e.slot = true
		case i.State == Waiting && !e.slot && plan.Sending && l.untroubled(i) && h.Instances[n].Questions(history.ToSend).None():
			l.queue = append(l.queue, i.ID)
		}
	}
	listed := listed(h)
	maps.DeleteFunc(l.entries, func(id string, e *entry) bool { return !e.tried && !listed[id] })
	for _, e := range l.entries {
		if !e.slot {
			e.sent = time.Time{}
		}
	}
}

// untroubled answers whether nothing has befallen an instance that waits. Any other one is
// decided on one by one, at a look; and so is one about which something has to be asked.
func (l *Ledger) untroubled(i Instance) bool {
	return l.of(i.ID).attempt.Failures == 0 && i.Reason == NoReason && !i.Reset
}

// glanced takes in which instances of the host Nova was rebuilding at a moment. One that is
// not among them has left its slot, whatever has become of it: the next look tells that.
func (l *Ledger) glanced(rebuilding map[string]bool, at, now time.Time) {
	for _, id := range slices.Sorted(maps.Keys(l.entries)) {
		e := l.entries[id]
		if !e.slot || rebuilding[id] || e.tried && (e.attempt.unseen(at) || e.attempt.open(now)) {
			continue
		}
		if !e.sent.IsZero() {
			l.typical += (at.Sub(e.sent) - l.typical) / 8
		}
		e.slot, e.sent = false, time.Time{}
	}
}

// more answers whether anything may be sent before the next look.
func (l *Ledger) more() bool { return len(l.queue) > 0 && !l.refused }

// next takes the instance off the queue that is to be sent now; false: none is.
// rebuilding are those that somebody else has sent.
func (l *Ledger) next(rebuilding map[string]bool, p Policy, now time.Time) (id string, found bool) {
	for l.more() && l.inFlight() < p.MaxInFlight {
		id, l.queue = l.queue[0], l.queue[1:]
		if !rebuilding[id] && l.maySend(id, now) {
			return id, true
		}
	}
	return "", false
}

// inFlight is how many slots are taken.
func (l *Ledger) inFlight() int {
	n := 0
	for _, e := range l.entries {
		if e.slot {
			n++
		}
	}
	return n
}

// maySend answers whether no request for an instance is under way that is known of here.
func (l *Ledger) maySend(id string, now time.Time) bool { return !l.of(id).attempt.open(now) }

// send notes that a request is sent. What came of it is for answers. stop is whether the
// instance is to be stopped once it has arrived.
func (l *Ledger) send(id string, stop bool, now time.Time) {
	e := l.of(id)
	e.attempt = Attempt{Pending: true, LastRecord: e.newest, Failures: e.attempt.Failures, Stop: stop || e.attempt.Stop, GuestOn: e.attempt.GuestOn}
	e.tried, e.slot, e.sent = true, true, now
	l.out++
}

// answered notes what came of a request, at the moment when that was noticed.
func (l *Ledger) answered(got answer, p Policy, now time.Time) {
	l.out--
	e := l.of(got.id)
	a := e.attempt
	a.Pending, a.Answered = false, now
	if got.err != nil {
		a = a.refused(got.err, p, now)
		l.refused = true
	}
	e.attempt, e.tried = a, true
}

// refused is the attempt whose answer was anything but a yes.
func (a Attempt) refused(err error, p Policy, now time.Time) Attempt {
	a.Refused, a.Err = true, reason(err)
	switch {
	case errors.Is(err, nova.ErrUnknownOutcome):
		a.UnknownUntil = now.Add(p.APITime)
	case errors.Is(err, nova.ErrAnswered): // the next look tells
	case errors.Is(err, nova.ErrNotFound): // deleted, the next look will not list it
		a.Over = true
	case errors.Is(err, nova.ErrNotSent), errors.Is(err, nova.ErrSourceInUse):
		// The trouble is not the instance's: no growing pause for it.
		a.Over, a.NotBefore = true, now.Add(p.RetryMin)
	default:
		a.Over = true
		a.Failures++
		a.NotBefore = now.Add(p.Pause(a.Failures))
	}
	return a
}
