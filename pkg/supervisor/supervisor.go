// Package supervisor watches the records of fenced hosts, claims those without a
// live owner, and runs one evacuation for each. One supervisor runs on every
// controller; a record's owner is decided by compare-and-swap.
package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/evacuate"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/ownership"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// Membership answers who is alive. cluster.Pacemaker and cluster.Local do.
type Membership interface {
	View(ctx context.Context) (cluster.View, error)
}

// Nova is what a supervisor asks of Nova. *nova.Client is one.
type Nova interface {
	evacuate.Nova
	ForceUp(ctx context.Context, service nova.Service) error
	Enable(ctx context.Context, service nova.Service) error
	Missing(ctx context.Context) ([]string, error)
}

// Options are what a supervisor works with.
type Options struct {
	// Owner is the name under which it claims records. Whoever runs under a name
	// has to hold its presence (cluster.Announce), so that a record with our own
	// name on it can only be that of a process of ours that is dead.
	Owner   string
	Records cib.Records
	Members Membership
	Nova    Nova
	Policy  evacuate.Policy
	Guard   Guard
	// ManualReturn leaves it to an operator to let a host in that is ready.
	ManualReturn bool
	// Power is the hand on the hosts' power; nil where there is none.
	Power Power
	// KeepOff leaves it to an operator to power a host on that is evacuated.
	KeepOff bool
	// Refence has a host fenced again, once, that is on before its instances have left.
	Refence bool
	// Domain is the DNS domain of Nova's host names.
	Domain string
	// Only, unless nil, restricts the work to some hosts.
	Only func(host string) bool
	// ShellGone answers whether a shell on this very node that owns a record is
	// dead. nil: nobody can tell.
	ShellGone func() bool
	// Fencings is the cluster's fencing history. nil: there is none.
	Fencings func(ctx context.Context) ([]cluster.Fencing, error)
	Now      func() time.Time
	Log      *logrus.Entry
}

// Bounds of the loop.
const (
	// idleTick is the pause between two looks at the records, busyTick the one while
	// a host is unfinished: a dead owner has to be followed within two seconds.
	idleTick = time.Second
	busyTick = 500 * time.Millisecond
	// permitLife is how long what was seen of the cluster allows to act. A cluster
	// that does not answer is one whose quorum may be gone.
	permitLife = 3 * time.Second
	// writeEvery is the pause between two writes of progress of one host.
	writeEvery = 5 * time.Second
	// lastWrite bounds the writes of a supervisor that is stopping.
	lastWrite = 5 * time.Second
	// pollMin is the pause between two looks of an evacuation at Nova, pollShare what
	// each evacuation adds to it: Nova gets no more requests for many hosts than for some.
	pollMin   = time.Second
	pollShare = 50 * time.Millisecond
)

// Supervisor is made with New and run once.
type Supervisor struct {
	Options

	mu      sync.Mutex
	workers map[string]*worker
	records []cib.Stored
	view    cluster.View // as it was last seen to let this node act
	// permitted is when the cluster was last seen to let this node act, refusal why
	// it does not.
	permitted time.Time
	refusal   string
	// beat is when the loop last came round: what monitor asks for.
	beat time.Time

	said map[string]owner
	// gone are the records of hosts that were let in, as they were then: the CIB may go
	// back in time and show one again, of a host that is alive.
	gone  map[string]record.Witness
	again []cib.Stored // those that are shown again
	quit  chan struct{}
}

// New makes a supervisor.
func New(o Options) *Supervisor {
	return &Supervisor{Options: o, workers: map[string]*worker{}, beat: o.Now(),
		refusal: "it has not seen the cluster yet", said: map[string]owner{}, gone: map[string]record.Witness{}, quit: make(chan struct{})}
}

// Run watches and works until ctx ends; then it stops its evacuations, releases
// its claims and returns nil.
func (s *Supervisor) Run(ctx context.Context) error {
	s.Log.Infof("supervisor of %s has started", s.Owner)
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() { s.watchHosts(ctx) })
	if s.Only == nil {
		watching.Go(func() { s.watchWitnesses(ctx) })
	}
	for {
		pause := s.round(ctx)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			s.stop()
			s.Log.Infof("supervisor of %s has stopped", s.Owner)
			return nil
		case <-timer.C:
		}
	}
}

// May answers whether this node may act on the cloud now. It is asked before
// every request that changes something, and before every write.
func (s *Supervisor) May() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusal != "" {
		return errors.New("this node must not act: " + s.refusal)
	}
	if age := s.Now().Sub(s.permitted); age > permitLife {
		return fmt.Errorf("this node must not act: the cluster has not answered for %v", age.Round(time.Second))
	}
	return nil
}

// round looks once at the cluster and the records. The cluster comes first: what
// the records said before the quorum was seen may be out of date.
func (s *Supervisor) round(ctx context.Context) time.Duration {
	defer func() {
		s.mu.Lock()
		s.beat = s.Now()
		s.mu.Unlock()
	}()
	busy := s.busy()
	var view cluster.View
	var err error
	if busy {
		if view, err = s.Members.View(ctx); err != nil {
			return s.refuse(ctx, err.Error())
		}
	}
	records, err := s.Records.Query(ctx)
	if err != nil {
		return s.refuse(ctx, err.Error())
	}
	records = s.remember(records)
	unfinished := false
	for _, r := range records {
		unfinished = unfinished || s.ours(r)
	}
	if !unfinished && !busy {
		return idleTick
	}
	if !busy {
		if view, err = s.Members.View(ctx); err != nil {
			return s.refuse(ctx, err.Error())
		}
	}
	if !view.Quorum {
		return s.refuse(ctx, "its partition has no quorum")
	}
	s.permit(view)
	s.follow(records)
	for _, r := range records {
		if s.ours(r) {
			s.consider(ctx, r, view)
		}
	}
	return busyTick
}

// remember takes in what the records are now, and which of them are gone because their
// hosts were let in. One that is there again after that is not returned: see expel.
func (s *Supervisor) remember(records []cib.Stored) []cib.Stored {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.records {
		if _, found := cib.Find(records, r.Host); !found && r.Err == nil && !r.Unfinished() {
			s.gone[r.Host] = r.Witness()
		}
	}
	s.again, s.records = nil, nil
	for _, r := range records {
		if let, known := s.gone[r.Host]; known && r.Err == nil && !r.Witness().Later(let) {
			s.again = append(s.again, r)
			continue
		}
		s.records = append(s.records, r)
	}
	return s.records
}

// expel deletes the records that are there again although their hosts were let in: the
// CIB went back in time. Where Nova still says that the host is fenced, it was not let in.
func (s *Supervisor) expel(ctx context.Context) error {
	s.mu.Lock()
	again := s.again
	s.mu.Unlock()
	if len(again) == 0 {
		return nil
	}
	services, err := s.Nova.Services(ctx)
	if err != nil {
		return err
	}
	for _, r := range again {
		service, err := nova.FindService(services, r.Host, s.Domain)
		if err == nil && service.ForcedDown {
			s.mu.Lock()
			delete(s.gone, r.Host)
			s.mu.Unlock()
			continue
		}
		s.Log.WithField("host", r.Host).Warn("its record is there again although it was let in: deleted")
		if err := s.Records.Delete(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func (s *Supervisor) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.workers) > 0 {
		return true
	}
	for _, r := range s.records {
		if s.ours(r) {
			return true
		}
	}
	return false
}

// ours says whether a record is one that this supervisor would work on.
func (s *Supervisor) ours(r cib.Stored) bool {
	return r.Err == nil && r.Unfinished() && (s.Only == nil || s.Only(r.Host))
}

func (s *Supervisor) permit(view cluster.View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusal != "" {
		s.Log.Info("the cluster lets this node act")
	}
	s.permitted, s.refusal, s.view = s.Now(), "", view
}

func (s *Supervisor) refuse(ctx context.Context, why string) time.Duration {
	if ctx.Err() != nil {
		return busyTick
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusal != why {
		s.Log.Warnf("this node must not act: %s", why)
	}
	s.refusal = why
	return busyTick
}

// follow tells the running evacuations what has become of their records.
func (s *Supervisor) follow(records []cib.Stored) {
	s.mu.Lock()
	workers := make([]*worker, 0, len(s.workers))
	for _, w := range s.workers {
		workers = append(workers, w)
	}
	s.mu.Unlock()
	for _, w := range workers {
		r, found := cib.Find(records, w.host)
		w.follow(r, found)
	}
}

// consider claims a record whose owner is dead or which has none.
func (s *Supervisor) consider(ctx context.Context, r cib.Stored, view cluster.View) {
	if s.working(r.Host) {
		return
	}
	verdict := s.judgeOwner(r, view)
	if verdict.Action != ownership.TakeOver {
		s.note(ctx, r, verdict)
		return
	}
	w, err := s.claim(ctx, r, r.Claimed(s.Owner, verdict.Doubt, s.Now()))
	switch {
	case err != nil:
		s.Log.WithField("host", r.Host).Warn(err)
		return
	case w == nil:
		return // the next round shows who was quicker
	}
	s.Log.WithField("host", r.Host).Infof("claimed generation %d: %s (owner before: %s)", r.Gen, verdict.Explain(r.Owner), cmp.Or(r.Owner, "none"))
	// An owner may have died before the guard had judged, and before it had looked at Nova.
	w.fresh = (r.Phase == record.Fenced || r.Total == 0) && r.Hold != record.Resumed
	// The evacuation ends when the worker is told to, not with ctx: it has answers
	// to wait for and a claim to release.
	go w.run()
}

func (s *Supervisor) working(host string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.workers[host] != nil
}

// claim writes next, which has our name on it, in the place of r, and gives the worker
// that is to carry it: nil where somebody else was quicker, or the quorum is lost.
func (s *Supervisor) claim(ctx context.Context, r cib.Stored, next record.Record) (*worker, error) {
	claimed, err := s.Records.Replace(ctx, r, next)
	if errors.Is(err, cib.ErrConflict) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	// A write that the cluster was about to carry out when it fell apart is carried out
	// in each part. Only who has quorum afterwards has the claim.
	if after, err := s.Members.View(ctx); err != nil || !after.Quorum {
		s.refuse(ctx, "quorum was lost while it claimed a host")
		return nil, nil
	} else {
		s.permit(after)
	}
	w := newWorker(s, claimed, r.Claim)
	s.mu.Lock()
	s.workers[r.Host] = w
	s.mu.Unlock()
	return w, nil
}

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

// owner is what was said of the owner of a record.
type owner struct {
	name  string
	state cluster.OwnerState
}

// note says, once, why a record whose owner is in doubt is not taken over: in the
// log, and in the record for whoever looks there.
func (s *Supervisor) note(ctx context.Context, r cib.Stored, verdict ownership.Verdict) {
	if verdict.Reason != ownership.OwnerState {
		return
	}
	if verdict.Owner.Runs() {
		delete(s.said, r.Host)
		return
	}
	now := owner{r.Owner, verdict.Owner}
	if said, before := s.said[r.Host]; before && said == now {
		return
	}
	s.said[r.Host] = now
	why := verdict.Explain(r.Owner)
	s.Log.WithField("host", r.Host).Warnf("not taken over: %s", why)
	next := r.Record
	next.Wait, next.Updated = why, s.Now()
	if _, err := s.Records.Replace(ctx, r, next); err != nil && !errors.Is(err, cib.ErrConflict) {
		s.Log.WithField("host", r.Host).Warn(err)
	}
}

// stop ends all evacuations, all at once, and waits for them.
func (s *Supervisor) stop() {
	close(s.quit)
	s.mu.Lock()
	workers := make([]*worker, 0, len(s.workers))
	for _, w := range s.workers {
		workers = append(workers, w)
	}
	s.mu.Unlock()
	for _, w := range workers {
		w.cancel(errStopping)
	}
	for _, w := range workers {
		<-w.ended
	}
}

// novaPoll is how long an evacuation waits between two looks at Nova.
func (s *Supervisor) novaPoll() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(pollMin, time.Duration(len(s.workers))*pollShare)
}

func (s *Supervisor) forget(w *worker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.workers[w.host] == w {
		delete(s.workers, w.host)
	}
}
