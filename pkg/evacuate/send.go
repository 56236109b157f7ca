package evacuate

import (
	"cmp"
	"context"
	"time"

	"github.com/nova-evac/nova-evac/pkg/history"
	"github.com/nova-evac/nova-evac/pkg/nova"
)

// act tells Nova that the host is down, or sends what is to be sent.
func (e *Evacuation) act(ctx context.Context, plan Plan) error {
	if plan.ForceDown {
		if err := e.May(); err != nil {
			return err
		}
		e.Log.Infof("telling Nova that %s is down", plan.Service.Host)
		return e.Nova.ForceDown(ctx, plan.Service, plan.Disable)
	}
	for _, send := range plan.Send {
		stop := false
		if send.Again {
			var actions []string
			var away error
			asked := question{send.ID, askActions}
			e.asked(asked, &away, func() (err error) { actions, err = e.Nova.Actions(ctx, send.ID); return err })
			if _, silent := e.noAnswer[asked]; silent {
				continue // whether it has to be stopped again is not known
			}
			stop = history.StoppedLast(actions)
		}
		if err := e.May(); err != nil {
			return err
		}
		if !e.source().Safe() {
			return nil // the next look says why
		}
		e.send(send, stop)
	}
	return nil
}

// send posts one evacuation in the background, unless a request for the instance may still
// be under way. The request outlives the context of Run, for its answer is worth waiting for;
// what has not left this process when Run returns is not sent any more. All of it has one
// time limit.
func (e *Evacuation) send(send Send, stop bool) {
	if !e.Ledger.maySend(send.ID, e.Now()) {
		return
	}
	e.Ledger.send(send.ID, stop, e.Now())
	answers := e.Ledger.answers
	go func() {
		ctx, cancel := context.WithTimeout(e.sending, e.Policy.APITime)
		defer cancel()
		answers <- answer{send.ID, e.post(ctx, send)}
	}()
}

// post sends the requests for one instance. A login or a reset takes its time, so it is asked
// right before the evacuation whether it may still be sent.
func (e *Evacuation) post(ctx context.Context, send Send) error {
	if err := e.Nova.Ready(ctx); err != nil {
		return err
	}
	if send.Reset {
		if err := e.Nova.Reset(ctx, send.ID); err != nil { // who dies now leaves it in error, which is evacuated
			return err
		}
	}
	if err := cmp.Or(ctx.Err(), e.May()); err != nil {
		return &nova.Error{Op: "evacuate instance " + send.ID, Kind: nova.ErrNotSent, Message: err.Error()}
	}
	return e.Nova.Evacuate(ctx, send.ID, send.Dest)
}

const (
	// glanceMin is the least pause between two glances, glancesALook how many of them
	// go on one look.
	glanceMin    = 400 * time.Millisecond
	glancesALook = 12
)

// fillSlots fills the slots that become free between two looks. A look costs a page of
// everything; a glance asks only which instances of the host Nova is rebuilding. An
// instance that is not among them any more has left its slot, whatever became of it:
// the next look tells that. fillSlots returns when a look is due, with the pause until then.
func (e *Evacuation) fillSlots(ctx context.Context, pause time.Duration) time.Duration {
	if !e.Ledger.more() {
		return pause
	}
	interval := max(min(e.Ledger.typical/12, pause*5), glanceMin, e.Poll()/2)
	due := e.Now().Add(max(pause, glancesALook*interval))
	for e.Ledger.more() {
		if left := due.Sub(e.Now()); left < interval {
			return max(left, 0)
		}
		if !e.wait(ctx, interval) {
			return 0
		}
		began := e.Now()
		list, err := e.Nova.Rebuilding(ctx, e.Host)
		if err != nil {
			break // the look will meet the same trouble, and say so
		}
		rebuilding := map[string]bool{}
		for _, id := range list {
			rebuilding[id] = true
		}
		e.Ledger.glanced(rebuilding, began, e.Now())
		for {
			id, found := e.Ledger.next(rebuilding, e.Policy, e.Now())
			if !found {
				break
			}
			if e.May() != nil || !e.source().Safe() {
				return 0 // the look will say why
			}
			e.send(Send{ID: id}, false)
		}
	}
	return max(min(pause, due.Sub(e.Now())), 0)
}
