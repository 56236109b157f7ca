package supervisor

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/ownership"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// Why the work under a claim ends before it is done.
var (
	errStopping = errors.New("the supervisor is stopping")
	errLost     = errors.New("the record has another owner now")
	errAgain    = errors.New("the host was fenced again")
	errHeld     = errors.New("the host is held")
)

// yielded are the causes with which a claim ends that is given up.
var yielded = map[ownership.Reason]error{ownership.OtherOwner: errLost, ownership.FencedAgain: errAgain, ownership.OnHold: errHeld}

// claim is a record that this supervisor has claimed for one piece of work: to evacuate its
// host, to power that on, or to let it in.
type claim struct {
	s      *Supervisor
	host   string
	prior  string // the claim before this one
	log    *logrus.Entry
	ctx    context.Context
	cancel context.CancelCauseFunc
	ended  chan struct{}

	mu       sync.Mutex
	record   cib.Stored // as it was last seen in the store
	deleting bool       // that the record is gone is no loss
	// releasing is true where it is no loss that the record has no owner, although the work
	// has not ended yet.
	releasing bool
	// newest puts into the record what the work knows better. It is called with mu held; nil:
	// the work knows nothing better.
	newest func(record.Record) record.Record
}

func newClaim(s *Supervisor, claimed cib.Stored, prior string) *claim {
	c := &claim{s: s, host: claimed.Host, record: claimed, prior: prior, ended: make(chan struct{})}
	c.log = s.Log.WithFields(logrus.Fields{"host": claimed.Host, "gen": claimed.Gen})
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	return c
}

// work carries out what the record was claimed for.
func (c *claim) work(do func()) {
	defer close(c.ended)
	defer c.s.claims.remove(c)
	defer c.cancel(nil)
	do()
}

// saw notes how the record stands in the store.
func (c *claim) saw(r cib.Stored) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.record = r
}

func (c *claim) setReleasing(releasing bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.releasing = releasing
}

// stored is the record as it was last seen in the store.
func (c *claim) stored() cib.Stored {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.record
}

func (c *claim) node() string { return c.stored().NodeName() }

// current is the record with the newest in it.
func (c *claim) current() record.Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.newest == nil {
		return c.record.Record
	}
	return c.newest(c.record.Record)
}

// mine is the claim as package ownership sees it.
func (c *claim) mine() ownership.Mine {
	mine := c.s.mine()
	c.mu.Lock()
	defer c.mu.Unlock()
	mine.Claim = &ownership.Claim{Witness: c.record.Witness(), Prior: c.prior, Deleting: c.deleting, Releasing: c.releasing}
	return mine
}

// follow compares the record in the store with the claim, and ends the work when the host
// is no longer its own to carry.
func (c *claim) follow(r cib.Stored, found bool) {
	verdict := ownership.Reconcile(c.mine(), asStored(r, found), nil, nil)
	switch verdict.Action {
	case ownership.Restore:
		c.restore(r, found)
	case ownership.Yield:
		if verdict.Reason == ownership.OnHold {
			c.saw(r)
		}
		c.cancel(yielded[verdict.Reason])
	default:
		if found && r.Err == nil {
			c.saw(r)
		}
	}
}

// restore writes the record again that is gone, or that went back in time to old: an
// acknowledged write can be lost when two partitions of a cluster merge.
func (c *claim) restore(old cib.Stored, found bool) {
	if c.ctx.Err() != nil || c.s.May() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastWrite)
	defer cancel()
	r := c.current()
	r.Updated = c.s.Now()
	var s cib.Stored
	var err error
	if found {
		s, err = c.s.Records.Replace(ctx, old, r)
	} else {
		s, err = c.s.Records.Create(ctx, r)
	}
	if err != nil {
		c.log.Warnf("put the record back that was lost: %v", err)
		return
	}
	c.log.Warn("the record had lost what was written to it, and was written again")
	c.saw(s)
}

// update changes the record, if it is still the claim's.
func (c *claim) update(which ownership.Generation, change func(record.Record) record.Record) error {
	if err := c.s.May(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastWrite)
	defer cancel()
	mine, lost := c.mine(), false
	_, _, err := cib.Modify(ctx, c.s.Records, c.host, func(r cib.Stored, found bool) (record.Record, bool) {
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

// deleteRecord deletes the record, if it is still as it was last seen.
func (c *claim) deleteRecord() error {
	if err := c.s.May(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastWrite)
	defer cancel()
	c.mu.Lock()
	mine := c.record
	c.deleting = true
	c.mu.Unlock()
	return c.s.Records.Delete(ctx, mine)
}

// claims are those that this supervisor holds.
type claims struct {
	mu     sync.Mutex
	byHost map[string]*claim
}

func (c *claims) add(claim *claim) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byHost[claim.host] = claim
}

func (c *claims) remove(claim *claim) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byHost[claim.host] == claim {
		delete(c.byHost, claim.host)
	}
}

// of is the claim on a host; nil: there is none.
func (c *claims) of(host string) *claim {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byHost[host]
}

func (c *claims) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.byHost)
}

// all are the claims, ordered by host.
func (c *claims) all() []*claim {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]*claim, 0, len(c.byHost))
	for _, claim := range c.byHost {
		all = append(all, claim)
	}
	slices.SortFunc(all, func(a, b *claim) int { return cmp.Compare(a.host, b.host) })
	return all
}
