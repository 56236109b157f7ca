package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/identity"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// ErrNoRecord: the host has no record.
var ErrNoRecord = errors.New("there is no record of the host: it was not fenced, or was let in again")

// Operator does by hand what the supervisors do, or keeps them from it.
type Operator struct {
	Records cib.Records
	// Nova is not needed for Hold and Resume.
	Nova interface {
		Nova
		Disown(ctx context.Context, service nova.Service) error
	}
	Domain string
	Now    func() time.Time
	// Power and Members have Admit power a host on; nil where there is no cluster.
	Power   Power
	Members Membership
}

// letGo bounds the wait for an owner to stop: it waits for the answers to what it has
// sent, and then gives its claim back.
const letGo = 30 * time.Second

// Hold keeps a host's evacuation from beginning, or stops it: what is under way in Nova
// is not called back. why is shown in its record.
func (o Operator) Hold(ctx context.Context, host, why string) error {
	return o.change(ctx, host, func(r record.Record) (record.Record, error) {
		if !r.Unfinished() {
			return r, fmt.Errorf("it is %s: there is nothing to hold", r.Phase)
		}
		return r.Held(record.HeldByOperator, record.WaitFor(why), o.Now()), nil
	})
}

// Resume has a host evacuated that is held, by whomever or whatever: with one that is on
// it is the operator's word that what has not left it does not run there. With one whose
// owner was on a node that the cluster does not know any more it is the operator's word that
// the owner is dead.
func (o Operator) Resume(ctx context.Context, host string) error {
	var view cluster.View
	if o.Members != nil {
		var err error
		if view, err = o.Members.View(ctx); err != nil {
			return err
		}
	}
	return o.change(ctx, host, func(r record.Record) (record.Record, error) {
		held := r.OnHold() || r.Hold == record.HeldBySource
		lost := r.Owner != "" && o.Members != nil && view.Owner(r.Owner) == cluster.OwnerNodeUnknown
		if !held && !lost {
			return r, errors.New("it is not held")
		}
		if lost {
			r = r.Disowned(o.Now())
		}
		if held {
			r = r.Held(record.Resumed, record.ForSupervisor, o.Now())
		}
		return r, nil
	})
}

func (o Operator) change(ctx context.Context, host string, to func(record.Record) (record.Record, error)) error {
	all, err := o.Records.Query(ctx)
	if err != nil {
		return err
	}
	name, err := recordOf(all, host)
	if err != nil {
		return err
	}
	var refused error
	_, _, err = cib.Modify(ctx, o.Records, name, func(r cib.Stored, found bool) (next record.Record, write bool) {
		switch {
		case !found:
			refused = ErrNoRecord
		case r.Err != nil:
			refused = r.Err
		default:
			next, refused = to(r.Record)
		}
		return next, refused == nil
	})
	if refused != nil {
		return fmt.Errorf("host %s: %w", host, refused)
	}
	return err
}

// recordOf is the name under which the host stands in the records that an operator means.
func recordOf(all []cib.Stored, host string) (string, error) {
	meant := identity.Recorded(all, host)
	switch {
	case len(meant) == 0:
		return "", fmt.Errorf("host %s: %w", host, ErrNoRecord)
	case len(meant) > 1:
		return "", severalMeant(host, meant)
	}
	return meant[0].Host, nil
}

func severalMeant(host string, meant []cib.Stored) error {
	return fmt.Errorf("host %s: the name fits the records of %s: say which", host, identity.Hosts(meant))
}

// Find returns a host's record and its nova-compute. It is no error for the host to have
// no record, nor for a record to be of a host that Nova does not know.
func (o Operator) Find(ctx context.Context, host string) (r cib.Stored, recorded bool, service nova.Service, err error) {
	records, service, err := o.find(ctx, host)
	if err != nil || len(records) == 0 {
		return r, false, service, err
	}
	return records[0], true, service, nil
}

// find returns all records of a host: it has two where it was recorded under two names.
func (o Operator) find(ctx context.Context, host string) ([]cib.Stored, nova.Service, error) {
	f, err := lookUp(ctx, o.Nova, o.Records, host, o.Domain)
	switch {
	case err != nil:
		return nil, nova.Service{}, err
	case len(f.records) == 0 && f.fits != nil:
		return nil, nova.Service{}, fmt.Errorf("host %s: nobody knows yet whether the record of %s is its: 'nova-evac status' says why; if you mean that record, say %[2]s", host, f.fits.Host)
	case len(f.records) == 0 && f.match.State != identity.One:
		return nil, nova.Service{}, f.match.Err()
	case f.match.State != identity.One || len(f.records) > 0 && f.cloud.Of(f.records[0].Record).State != identity.One:
		return f.records, nova.Service{}, nil
	}
	return f.records, f.match.Service, nil
}

// Admit lets a host in now: Nova takes it for alive, it is enabled unless an operator
// disabled it, and its record is gone. A host that is kept off is powered on first. What
// Nova refuses it for is the error.
func (o Operator) Admit(ctx context.Context, host string) error {
	return o.end(ctx, host, func(r cib.Stored, service nova.Service) error {
		if service.Host == "" {
			return fmt.Errorf("host %s: Nova does not say which host it is, so that it cannot be let in; 'nova-evac forget %[1]s' drops its record", host)
		}
		if err := o.powerOn(ctx, r); err != nil {
			return err
		}
		if service.ForcedDown {
			if err := o.over(ctx, service.Host); err != nil {
				return err
			}
			if err := o.Nova.ForceUp(ctx, service); err != nil {
				return err
			}
		}
		if !service.Enabled && service.Ours() {
			return o.Nova.Enable(ctx, service)
		}
		return nil
	})
}

// over fails while evacuations of a host are under way: its guests would run here and there.
// Nova itself refuses only for those that are done already.
func (o Operator) over(ctx context.Context, host string) error {
	evacuations, err := o.Nova.Evacuations(ctx, host, time.Time{})
	if err != nil {
		return err
	}
	open := 0
	for _, m := range evacuations {
		if m.Source == host && (m.Status == nova.StatusAccepted || m.Status == nova.StatusPreMigrating) {
			open++
		}
	}
	if open == 0 {
		return nil
	}
	return &nova.Error{Op: "let host " + host + " in", Kind: nova.ErrRefused,
		Message: fmt.Sprintf("%d evacuations of it are not over; wait for them, then start nova-compute there, which completes them in Nova", open)}
}

// Forget drops a host's record and changes nothing else: the host stays forced down, and
// disabled with a reason that is not ours, so that nobody writes the record again.
func (o Operator) Forget(ctx context.Context, host string) error {
	return o.end(ctx, host, func(_ cib.Stored, service nova.Service) error {
		if service.Host != "" && !service.Enabled && service.Ours() {
			return o.Nova.Disown(ctx, service)
		}
		return nil
	})
}

// end stops whoever carries a host, tells Nova, and deletes the record.
func (o Operator) end(ctx context.Context, host string, tell func(cib.Stored, nova.Service) error) error {
	records, service, err := o.find(ctx, host)
	if err != nil {
		return err
	}
	for n, r := range records {
		if r.Err == nil {
			if records[n], err = o.stop(ctx, r); err != nil {
				return err
			}
		}
	}
	var first cib.Stored
	if len(records) > 0 {
		first = records[0]
	}
	if err := tell(first, service); err != nil {
		return err
	}
	for _, r := range records {
		drop := o.deleteReleased
		if r.Err != nil {
			drop = o.Records.Delete
		}
		if err := drop(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// deleteReleased deletes a record that nobody owns. A supervisor may have claimed it since,
// to power the host on or to let it in. It would take a deletion for a loss, and write the
// record again.
func (o Operator) deleteReleased(ctx context.Context, r cib.Stored) error {
	for {
		now, err := o.awaitRelease(ctx, r)
		switch {
		case errors.Is(err, ErrNoRecord):
			return nil // a supervisor has let the host in
		case err != nil:
			return err
		case now.Err != nil, now.Witness().Later(r.Witness()):
			return o.Records.Delete(ctx, r) // which says that it was changed
		}
		// The hook may have changed it, where the host was powered on.
		if err := o.Records.Delete(ctx, now); !errors.Is(err, cib.ErrConflict) {
			return err
		}
	}
}

// powerOn powers a host on that the cluster keeps off.
func (o Operator) powerOn(ctx context.Context, r cib.Stored) error {
	if o.Power == nil || r.Host == "" || r.Err != nil || r.Back != record.NotBack {
		return nil
	}
	view, err := o.Members.View(ctx)
	if err != nil {
		return err
	}
	if _, known := view.Nodes[r.NodeName()]; !known {
		return nil
	}
	return o.Power.On(ctx, r.NodeName())
}

// stop waits until nobody carries a host any more.
func (o Operator) stop(ctx context.Context, r cib.Stored) (cib.Stored, error) {
	if r.Unfinished() && !r.OnHold() {
		if err := o.Hold(ctx, r.Host, "an operator who is about to end its evacuation"); err != nil {
			return r, err
		}
	}
	return o.awaitRelease(ctx, r)
}

// awaitRelease waits until a record has no owner, and gives it as it is then.
func (o Operator) awaitRelease(ctx context.Context, r cib.Stored) (cib.Stored, error) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for end := o.Now().Add(letGo); ; {
		all, err := o.Records.Query(ctx)
		if err != nil {
			return r, err
		}
		now, found := cib.Find(all, r.Host)
		switch {
		case !found:
			return r, fmt.Errorf("host %s: %w", r.Host, ErrNoRecord)
		case now.Owner == "":
			return now, nil
		case o.Now().After(end):
			held := ""
			if now.OnHold() {
				held = "; it is held"
			}
			return now, fmt.Errorf("host %s: its owner, %s, has not let go of it within %v%s: try again when that one has, or is gone", r.Host, now.Owner, letGo, held)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return r, ctx.Err()
		}
	}
}
