package supervisor

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/evacuate"
	"github.com/nova-evac/nova-evac/pkg/ownership"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// Why a worker ends before its host is done.
var (
	errStopping = errors.New("the supervisor is stopping")
	errLost     = errors.New("the record has another owner now")
	errAgain    = errors.New("the host was fenced again")
	errHeld     = errors.New("the host is held")
)

// worker carries the evacuation of one claimed host and writes its record.
type worker struct {
	s      *Supervisor
	host   string
	prior  string // the claim before this one
	fresh  bool   // its evacuation has not begun, the guard has a say
	said   string // by watchSource, last
	held   bool   // it was held because of its source when it was claimed
	log    *logrus.Entry
	ctx    context.Context
	cancel context.CancelCauseFunc
	ended  chan struct{}

	mu       sync.Mutex
	record   cib.Stored // as we last saw it in the store
	progress evacuate.Progress
	reported bool // progress holds something
	leaving  bool // the record is being deleted: that it is gone is no loss
	seen     sighting
}

func newWorker(s *Supervisor, claimed cib.Stored, prior string) *worker {
	w := &worker{s: s, host: claimed.Host, record: claimed, prior: prior, held: claimed.Hold == record.HeldBySource, ended: make(chan struct{})}
	w.log = s.Log.WithFields(logrus.Fields{"host": claimed.Host, "gen": claimed.Gen})
	w.ctx, w.cancel = context.WithCancelCause(context.Background())
	return w
}

// run carries the host to the end, or until the worker is cancelled.
func (w *worker) run() {
	defer close(w.ended)
	defer w.s.forget(w)
	defer w.cancel(nil)

	w.mu.Lock()
	claimed := w.record
	w.mu.Unlock()
	e := &evacuate.Evacuation{
		Host: w.host, Witness: claimed.Witness(), Prior: w.prior, Doubt: claimed.Doubt, Domain: w.s.Domain,
		Nova: w.s.Nova, Policy: w.s.Policy, Poll: w.s.novaPoll, Now: w.s.Now, May: w.s.May, Source: w.source, Back: w.s.back, Report: w.report, Distrust: w.addDoubt, Log: w.log,
	}
	working, done := context.WithCancel(w.ctx)
	defer done()
	looked := make(chan struct{})
	var beside sync.WaitGroup
	beside.Go(func() { w.writeProgress(working) })
	beside.Go(func() { w.watchSource(working, looked) })
	if w.fresh && !w.passes() {
		w.cancel(nil)
		beside.Wait()
		return
	}
	<-looked // nothing is sent before, and a look that sends nothing is repeated seconds later
	err := e.Run(w.ctx)
	settled := err == nil
	cause := context.Cause(w.ctx)
	done()
	beside.Wait()
	if returned := errors.Is(err, evacuate.ErrReturned) && !errors.Is(err, evacuate.ErrUnanswered); returned {
		w.log.Warn("the host was on again before anything was sent, or was let in: its record is dropped")
		err := w.letIn()
		w.cancel(nil)
		w.conclude(err)
		return
	}
	w.cancel(nil) // from here on the record is as we leave it

	var superseded *evacuate.SupersededError
	switch {
	case settled:
		w.settle()
	case errors.As(err, &superseded):
		w.log.Warn(err)
		w.correct(superseded.Found, errors.Is(err, evacuate.ErrUnanswered))
	case errors.Is(cause, errLost):
		w.log.Warn("stopped: the record has another owner now")
	case errors.Is(cause, errAgain):
		w.log.Info("stopped: the host was fenced again, it starts over")
		if !errors.Is(err, evacuate.ErrUnanswered) {
			w.release(ownership.AnyGeneration, e.DoubtOver())
		}
	case errors.Is(err, evacuate.ErrUnanswered):
		// Not released: the next owner has to reckon with what is still under way.
		w.log.Warnf("stopped, and the claim is kept: %v", err)
	default:
		w.release(ownership.SameGeneration, e.DoubtOver())
	}
}

// report takes in the evacuation's progress.
func (w *worker) report(p evacuate.Progress) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.Held > 0 && w.seen.trouble != "" {
		p.Wait += "; " + w.seen.trouble
	}
	w.progress, w.reported = p, true
	return w.record.Failed
}

// saw notes how the record stands in the store.
func (w *worker) saw(r cib.Stored) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.record = r
}

// current is the record with the newest progress in it.
func (w *worker) current() record.Record {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.record.Record
	if w.reported {
		r.Total, r.Done, r.Failed, r.Skipped, r.Wait = w.progress.Total, w.progress.Done, w.progress.Failed, w.progress.Skipped, w.progress.Wait
		r = r.HeldFor(w.progress.Held > 0 && w.progress.Source.On())
	}
	if w.seen.back.Beyond(r.Back) {
		r, _ = r.Seen(w.seen.back, r.Updated)
	}
	return r
}

// mine is the claim as package ownership sees it.
func (w *worker) mine() ownership.Mine {
	mine := w.s.mine()
	w.mu.Lock()
	defer w.mu.Unlock()
	mine.Claim = &ownership.Claim{Witness: w.record.Witness(), Prior: w.prior, Deleting: w.leaving}
	return mine
}

// yielded are the causes with which a worker ends that gives its claim up.
var yielded = map[ownership.Reason]error{ownership.OtherOwner: errLost, ownership.FencedAgain: errAgain, ownership.OnHold: errHeld}

// follow compares the record in the store with the claim, and ends the worker when the host
// is no longer its own to carry.
func (w *worker) follow(r cib.Stored, found bool) {
	verdict := ownership.Reconcile(w.mine(), asStored(r, found), nil, nil)
	switch verdict.Action {
	case ownership.Restore:
		w.restore(r, found)
	case ownership.Yield:
		if verdict.Reason == ownership.OnHold {
			w.saw(r)
		}
		w.cancel(yielded[verdict.Reason])
	default:
		if found && r.Err == nil {
			w.saw(r)
		}
	}
}

// restore writes the record again that is gone, or that went back in time to old: an
// acknowledged write can be lost when two partitions of a cluster merge.
func (w *worker) restore(old cib.Stored, found bool) {
	if w.ctx.Err() != nil || w.s.May() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastWrite)
	defer cancel()
	r := w.current()
	r.Updated = w.s.Now()
	var s cib.Stored
	var err error
	if found {
		s, err = w.s.Records.Replace(ctx, old, r)
	} else {
		s, err = w.s.Records.Create(ctx, r)
	}
	if err != nil {
		w.log.Warnf("put the record back that was lost: %v", err)
		return
	}
	w.log.Warn("the record had lost what was written to it, and was written again")
	w.saw(s)
}

// addDoubt writes down that more instances are in doubt.
func (w *worker) addDoubt(_ context.Context, more int) error {
	return w.last(ownership.SameGeneration, func(r record.Record) record.Record {
		r.Doubt += more
		return r
	})
}

// correct puts what Nova knows better into the record, and gives the claim back. The
// supervisor that claims next, be it this one, finds it there.
func (w *worker) correct(found record.Witness, unanswered bool) {
	mine := w.mine()
	mine.Claim.ReadBack, mine.Claim.Unanswered = true, unanswered
	doubt := ownership.Reconcile(mine, ownership.Stored{}, &found, nil).Doubt
	err := w.last(ownership.SameGeneration, func(r record.Record) record.Record {
		return r.Corrected(found, doubt, w.s.Now())
	})
	if err != nil {
		w.log.Warnf("put the record right: %v", err)
	}
}

// writeProgress writes the record every few seconds while it changes.
func (w *worker) writeProgress(ctx context.Context) {
	tick := time.NewTicker(writeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w.mu.Lock()
		old := w.record
		w.mu.Unlock()
		next := w.current()
		if next == old.Record || w.s.May() != nil {
			continue
		}
		next.Updated = w.s.Now()
		// A conflict is not fought here: the supervisor's next round tells what the
		// record is now, and whether it is still ours.
		s, err := w.s.Records.Replace(ctx, old, next)
		switch {
		case err == nil:
			w.saw(s)
		case !errors.Is(err, cib.ErrConflict):
			w.log.Warn(err)
		}
	}
}

// settle writes that nothing is left to do, and does not give up: unless the
// record becomes somebody else's, or the supervisor stops.
func (w *worker) settle() {
	final := w.current()
	for {
		err := w.last(ownership.SameGeneration, func(r record.Record) record.Record {
			r.Total, r.Done, r.Failed, r.Skipped, r.Wait = final.Total, final.Done, final.Failed, final.Skipped, final.Wait
			return r.Settled(w.s.Now())
		})
		if err == nil {
			w.log.Infof("evacuated: %d of %d instances on other hosts", final.Done, final.Total)
			if final.Skipped > 0 {
				w.log.Warnf("left: %s", final.Wait)
			}
			return
		}
		w.log.Warnf("the host is evacuated, but the record cannot say so yet: %v", err)
		if errors.Is(err, errLost) {
			return
		}
		select {
		case <-w.s.quit:
			return
		case <-time.After(time.Second):
		}
	}
}

// release gives the claim back.
func (w *worker) release(which ownership.Generation, doubtOver bool) {
	now := w.current()
	err := w.last(which, func(r record.Record) record.Record {
		r.Total, r.Done, r.Failed, r.Skipped = now.Total, now.Done, now.Failed, now.Skipped
		return r.Released(doubtOver, w.s.Now())
	})
	if err != nil {
		w.log.Warnf("release the claim: %v", err)
		return
	}
	w.log.Info("released the claim")
}

// last writes the worker's last word, if the record is still its own.
func (w *worker) last(which ownership.Generation, change func(record.Record) record.Record) error {
	if err := w.s.May(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastWrite)
	defer cancel()
	mine, lost := w.mine(), false
	_, _, err := cib.Modify(ctx, w.s.Records, w.host, func(r cib.Stored, found bool) (record.Record, bool) {
		lost = !mine.MayWrite(asStored(r, found), which)
		if lost {
			return r.Record, false
		}
		return change(r.Record), true
	})
	if err == nil && lost {
		return errLost
	}
	return err
}
