package supervisor

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/evacuate"
	"github.com/nova-evac/nova-evac/pkg/ownership"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// mine is this supervisor as package ownership sees it.
func (s *Supervisor) mine() ownership.Mine {
	return ownership.Mine{Owner: s.Owner, Unseen: evacuate.InDoubt(s.Policy, 0)}
}

// asStored is a record, or that there is none, as package ownership sees it.
func asStored(r cib.Stored, found bool) ownership.Stored {
	switch {
	case !found:
		return ownership.Stored{State: ownership.Absent}
	case r.Err != nil:
		return ownership.Stored{State: ownership.Malformed}
	}
	return ownership.Stored{State: ownership.Present, Record: r.Record}
}

// judgeOwner answers whether a record may be claimed on which this supervisor has no claim.
func (s *Supervisor) judgeOwner(r cib.Stored, view cluster.View) ownership.Verdict {
	mine := s.mine()
	if _, shell := record.OwnerNode(r.Owner); shell && s.ShellGone != nil {
		mine.ShellGone = s.ShellGone()
	}
	return ownership.Reconcile(mine, asStored(r, true), nil, &view)
}

// takeover claims the records of hosts that have to be evacuated and that nobody carries.
// Only the supervisor's loop uses it.
type takeover struct {
	s *Supervisor
	// noted is what was said, by host, of owners that may be alive.
	noted map[string]owner
	// unclaimed is the trouble with writing claims.
	unclaimed trouble
}

// owner is an owner of a record, and what the cluster says of it.
type owner struct {
	name  string
	state cluster.OwnerState
}

// consider claims a record whose owner is dead or which has none.
func (t *takeover) consider(ctx context.Context, r cib.Stored, view cluster.View) {
	if t.s.claims.of(r.Host) != nil {
		return
	}
	verdict, err := t.judge(ctx, r, view)
	switch {
	case err != nil:
		t.s.refuse(ctx, err)
		return
	case verdict.Action != ownership.TakeOver:
		t.note(ctx, r, verdict)
		return
	}
	c, err := t.s.claim(ctx, r, r.Claimed(t.s.Owner, evacuate.InDoubt(t.s.Policy, 0), verdict.Doubt, t.s.Now()))
	t.unclaimed.took(err, t.s.Log.WithField("host", r.Host), "claim it")
	if c == nil {
		return // the next round shows who was quicker
	}
	t.s.Log.WithField("host", r.Host).Infof("claimed generation %d: %s (owner before: %s)", r.Gen, verdict.Explain(r.Owner), cmp.Or(r.Owner, "none"))
	if ahead := r.Ahead(t.s.Now()); ahead > 0 {
		t.s.Log.WithField("host", r.Host).Warnf("it was fenced at %s, by a controller's clock that is %v ahead of this one: set the clocks right",
			r.Since.UTC().Format(time.RFC3339), ahead.Round(time.Second))
	}
	e := newEvacuation(c)
	// An owner may have died before the guard had judged, and before it had looked at Nova.
	e.fresh = (r.Phase == record.Fenced || r.Total == 0) && r.Hold != record.Resumed
	// The evacuation ends when it is told to, not with ctx: it has answers to wait for and a
	// claim to release.
	go c.work(e.run)
}

// judge answers whether a record may be claimed. view may be older than the record: a
// supervisor that started after it was taken may have claimed the host since, so that the
// cluster is asked once more before it counts as gone.
func (t *takeover) judge(ctx context.Context, r cib.Stored, view cluster.View) (ownership.Verdict, error) {
	verdict := t.s.judgeOwner(r, view)
	if verdict.Action != ownership.TakeOver || verdict.Reason != ownership.OwnerState {
		return verdict, nil
	}
	now, err := t.s.Members.View(ctx)
	switch {
	case err != nil:
		return verdict, err
	case !now.Quorum:
		return verdict, errNoQuorum
	}
	return t.s.judgeOwner(r, now), nil
}

// note says, once, why a record whose owner is in doubt is not taken over: in the
// log, and in the record for whoever looks there.
func (t *takeover) note(ctx context.Context, r cib.Stored, verdict ownership.Verdict) {
	if verdict.Reason != ownership.OwnerState {
		return
	}
	if verdict.Owner.Runs() {
		delete(t.noted, r.Host)
		return
	}
	now := owner{r.Owner, verdict.Owner}
	if before, noted := t.noted[r.Host]; noted && before == now {
		return
	}
	t.noted[r.Host] = now
	why := verdict.Explain(r.Owner)
	log := t.s.Log.WithField("host", r.Host)
	log.Warnf("not taken over: %s", why)
	next := r.Record
	next.Wait, next.Updated = record.WaitFor(why), t.s.Now()
	if err := t.s.change(ctx, r, next); err != nil {
		log.Warn(err)
	}
}

// claim writes next, which has our name on it, in the place of r, and gives the claim: nil
// where somebody else was quicker, or the quorum is lost.
func (s *Supervisor) claim(ctx context.Context, r cib.Stored, next record.Record) (*claim, error) {
	claimed, err := s.Records.Replace(ctx, r, next)
	if errors.Is(err, cib.ErrConflict) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	// A write that the cluster was about to carry out when it fell apart is carried out in
	// each part. A claim is one only in the part that has quorum afterwards.
	after, err := s.Members.View(ctx)
	if err != nil || !after.Quorum {
		s.refuse(ctx, errQuorumGoing)
		return nil, nil
	}
	s.permit.grant(after)
	c := newClaim(s, claimed, r.Claim)
	s.claims.add(c)
	return c, nil
}

// change changes a record that nobody has claimed. Where somebody else was quicker, the
// next look shows what it is now.
func (s *Supervisor) change(ctx context.Context, r cib.Stored, next record.Record) error {
	if _, err := s.Records.Replace(ctx, r, next); err != nil && !errors.Is(err, cib.ErrConflict) {
		return err
	}
	return nil
}
