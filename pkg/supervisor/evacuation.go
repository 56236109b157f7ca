package supervisor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/evacuate"
	"github.com/nova-evac/nova-evac/pkg/ownership"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// evacuation carries the evacuation of one claimed host and writes its record.
type evacuation struct {
	*claim
	fresh   bool   // it has not begun, the guard has a say
	warned  string // by warnOnce, last
	wasHeld bool   // it was held because of its source when it was claimed

	// These are guarded by the claim's mutex.
	progress evacuate.Progress
	reported bool // progress holds something
	seen     sighting
}

func newEvacuation(c *claim) *evacuation {
	e := &evacuation{claim: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	e.wasHeld, c.newest = c.record.Hold == record.HeldBySource, e.newestOf
	return e
}

// run carries the host to the end, or until it is cancelled.
func (e *evacuation) run() {
	working, done := context.WithCancel(e.ctx)
	defer done()
	looked := make(chan struct{})
	var beside sync.WaitGroup
	beside.Go(func() { e.writeProgress(working) })
	beside.Go(func() { e.watchSource(working, looked) })
	host, ledger := e.identify()
	switch {
	case ledger == nil && e.ctx.Err() != nil: // nothing was sent
		cause := context.Cause(e.ctx)
		e.cancel(nil)
		beside.Wait()
		e.end(cause, cause, e.stored().Doubt == 0)
		return
	case ledger == nil:
		e.cancel(nil)
		beside.Wait()
		return
	}
	if e.fresh && !e.passes() {
		e.s.ledgers.giveBack(host, e.s.Now())
		e.cancel(nil)
		beside.Wait()
		return
	}
	<-looked // nothing is sent before, and a look that sends nothing is repeated seconds later
	engine := e.engine(host, ledger)
	err := engine.Run(e.ctx)
	e.s.ledgers.giveBack(host, e.s.Now())
	cause := context.Cause(e.ctx)
	done()
	beside.Wait()
	if errors.Is(err, evacuate.ErrReturned) && !errors.Is(err, evacuate.ErrUnanswered) {
		e.log.Warn("the host was on again before anything was sent, or was let in: its record is dropped")
		back := admission{e.claim}
		err := back.letIn()
		e.cancel(nil)
		back.conclude(err)
		return
	}
	e.cancel(nil) // from here on the record is as it is left here
	e.end(err, cause, engine.DoubtOver())
}

// engine is what carries the host, under its name in Nova.
func (e *evacuation) engine(host string, ledger *evacuate.Ledger) *evacuate.Evacuation {
	claimed := e.stored()
	return &evacuate.Evacuation{
		Host: host, Witness: claimed.Witness(), Prior: e.prior, Doubt: claimed.Doubt,
		Nova: e.s.Nova, Policy: e.s.Policy, Poll: e.s.novaPoll, Now: e.s.Now, May: e.s.May,
		Source: e.source, Back: e.s.back, Report: e.report, AddDoubt: e.addDoubt,
		Ledger: ledger, Log: e.log,
	}
}

// end leaves the record as the engine's end calls for. cause is why the engine was stopped,
// if it was.
func (e *evacuation) end(err, cause error, doubtOver bool) {
	unanswered := errors.Is(err, evacuate.ErrUnanswered)
	var superseded *evacuate.SupersededError
	switch {
	case err == nil:
		e.settle()
	case errors.As(err, &superseded):
		e.log.Warn(err)
		e.correct(superseded.Found, unanswered)
	case errors.Is(cause, errLost):
		e.log.Warn("stopped: the record has another owner now")
	case errors.Is(cause, errAgain):
		e.log.Info("stopped: the host was fenced again, it starts over")
		if !unanswered {
			e.release(ownership.AnyGeneration, doubtOver)
		}
	case unanswered:
		// Not released: the next owner has to reckon with what is still under way.
		e.log.Warnf("stopped, and the claim is kept: %v", err)
	default:
		e.release(ownership.SameGeneration, doubtOver)
	}
}

// report takes in the evacuation's progress.
func (e *evacuation) report(p evacuate.Progress) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p.Held > 0 && e.seen.trouble != nil {
		p.Wait += fmt.Sprintf("; fencing it again failed: %v", e.seen.trouble)
	}
	e.progress, e.reported = p, true
	return e.record.Failed
}

// newestOf puts the progress into the record, and what was seen of the host's power.
func (e *evacuation) newestOf(r record.Record) record.Record {
	if e.reported {
		r.Counts, r.Wait = counts(e.progress), record.WaitFor(e.progress.Wait)
		r = r.HeldFor(e.progress.Held > 0 && e.progress.Source.On())
	}
	if e.seen.back.Beyond(r.Back) {
		r, _ = r.Seen(e.seen.back, r.Updated)
	}
	return r
}

// counts are what the engine counts.
func counts(p evacuate.Progress) record.Counts {
	return record.Counts{Total: p.Total, Done: p.Done, Failed: p.Failed, Skipped: p.Skipped}
}

// addDoubt writes down that more instances are in doubt.
func (e *evacuation) addDoubt(_ context.Context, more int) error {
	return e.update(ownership.SameGeneration, func(r record.Record) record.Record {
		r.Doubt += more
		return r
	})
}

// correct puts what Nova knows better into the record, and gives the claim back. The
// supervisor that claims next, be it this one, finds it there.
func (e *evacuation) correct(found record.Witness, unanswered bool) {
	mine := e.mine()
	mine.Claim.ReadBack, mine.Claim.Unanswered = true, unanswered
	doubt := ownership.Reconcile(mine, ownership.Stored{}, &found, nil).Doubt
	err := e.update(ownership.SameGeneration, func(r record.Record) record.Record {
		return r.Corrected(found, doubt, e.s.Now())
	})
	if err != nil {
		e.log.Warnf("put the record right: %v", err)
	}
}

// writeProgress writes the record every few seconds while it changes.
func (e *evacuation) writeProgress(ctx context.Context) {
	tick := time.NewTicker(writeEvery)
	defer tick.Stop()
	var unwritten trouble
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		old := e.stored()
		next := e.current()
		if next == old.Record || e.s.May() != nil {
			continue
		}
		next.Updated = e.s.Now()
		// A conflict is not fought here: the supervisor's next round tells what the
		// record is now, and whether it is still ours.
		s, err := e.s.Records.Replace(ctx, old, next)
		if err == nil {
			e.saw(s)
		}
		if !errors.Is(err, cib.ErrConflict) {
			unwritten.took(err, e.log, "the progress is not written")
		}
	}
}

// settle writes that nothing is left to do, and does not give up: unless the
// record becomes somebody else's, or the supervisor stops.
func (e *evacuation) settle() {
	final := e.current()
	var unwritten trouble
	for {
		err := e.update(ownership.SameGeneration, func(r record.Record) record.Record {
			r.Counts, r.Wait = final.Counts, final.Wait
			return r.Settled(e.s.Now())
		})
		if err == nil {
			e.log.Infof("evacuated: %d of %d instances on other hosts", final.Done, final.Total)
			if final.Skipped > 0 {
				e.log.Warnf("left: %s", final.Wait)
			}
			return
		}
		if errors.Is(err, errLost) {
			e.log.Warnf("the host is evacuated, but the record cannot say so: %v", err)
			return
		}
		unwritten.took(err, e.log, "the host is evacuated, but the record cannot say so yet")
		select {
		case <-e.s.quit:
			return
		case <-time.After(time.Second):
		}
	}
}

// release gives the claim back.
func (e *evacuation) release(which ownership.Generation, doubtOver bool) {
	now := e.current()
	err := e.update(which, func(r record.Record) record.Record {
		r.Counts = now.Counts
		return r.Released(doubtOver, e.s.Now())
	})
	if err != nil {
		e.log.Warnf("release the claim: %v", err)
		return
	}
	e.log.Info("released the claim")
}
