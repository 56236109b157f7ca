// Package supervisor watches the records of fenced hosts, claims those without a
// live owner, and runs one evacuation for each. One supervisor runs on every
// controller; a record's owner is decided by compare-and-swap.
package supervisor

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/evacuate"
	"github.com/nova-evac/nova-evac/pkg/nova"
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

	permit   permit
	known    knownRecords
	claims   claims
	ledgers  ledgers
	takeover takeover
	// foreign are the witnesses of other clusters that were named. Only watchWitnesses uses it.
	foreign map[string]record.Witness
	// came is when the loop last came round, in nanoseconds since 1970. Monitor asks for it.
	came atomic.Int64
	quit chan struct{}
}

// New makes a supervisor.
func New(o Options) *Supervisor {
	s := &Supervisor{Options: o, quit: make(chan struct{}), foreign: map[string]record.Witness{},
		permit: permit{now: o.Now, log: o.Log, refusal: errNotSeenYet},
		known:  knownRecords{letIn: map[string]record.Witness{}},
		claims: claims{byHost: map[string]*claim{}}, ledgers: ledgers{byHost: map[string]*evacuate.Ledger{}, taken: map[string]bool{}},
	}
	s.takeover = takeover{s: s, noted: map[string]owner{}}
	s.came.Store(o.Now().UnixNano())
	return s
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
func (s *Supervisor) May() error { return s.permit.check() }

// round looks once at the cluster and the records. The cluster comes first:
// records that were read before the quorum was seen may be out of date.
func (s *Supervisor) round(ctx context.Context) time.Duration {
	defer func() { s.came.Store(s.Now().UnixNano()) }()
	busy := s.busy()
	var view cluster.View
	var err error
	if busy {
		if view, err = s.Members.View(ctx); err != nil {
			return s.refuse(ctx, err)
		}
	}
	records, err := s.Records.Query(ctx)
	if err != nil {
		return s.refuse(ctx, err)
	}
	records = s.known.take(records)
	if !busy && !slices.ContainsFunc(records, s.carries) {
		return idleTick
	}
	if !busy {
		if view, err = s.Members.View(ctx); err != nil {
			return s.refuse(ctx, err)
		}
	}
	if !view.Quorum {
		return s.refuse(ctx, errNoQuorum)
	}
	s.permit.grant(view)
	for _, c := range s.claims.all() {
		c.follow(cib.Find(records, c.host))
	}
	for _, r := range records {
		if s.carries(r) {
			s.takeover.consider(ctx, r, view)
		}
	}
	return busyTick
}

// busy answers whether there was something to evacuate when the records were last read.
func (s *Supervisor) busy() bool {
	return s.claims.count() > 0 || slices.ContainsFunc(s.known.all(), s.carries)
}

// carries answers whether a record is one that this supervisor would carry. One of which
// nobody knows what host it is of may stay for ever, and is none: watchHosts looks after it.
func (s *Supervisor) carries(r cib.Stored) bool {
	nameless := r.Hold == record.HeldByName && r.Owner == ""
	return r.Err == nil && r.Unfinished() && !nameless && (s.Only == nil || s.Only(r.Host))
}

// refuse takes in why this node must not act, and gives the pause until the next look. A
// failure while the supervisor is stopping says nothing.
func (s *Supervisor) refuse(ctx context.Context, why error) time.Duration {
	if ctx.Err() == nil {
		s.permit.refuse(why)
	}
	return busyTick
}

// stop ends all work, all at once, and waits for it.
func (s *Supervisor) stop() {
	close(s.quit)
	held := s.claims.all()
	for _, c := range held {
		c.cancel(errStopping)
	}
	for _, c := range held {
		<-c.ended
	}
}

// novaPoll is how long an evacuation waits between two looks at Nova.
func (s *Supervisor) novaPoll() time.Duration {
	return max(pollMin, time.Duration(s.claims.count())*pollShare)
}
