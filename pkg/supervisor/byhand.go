package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/evacuate"
	"github.com/nova-evac/nova-evac/pkg/history"
	"github.com/nova-evac/nova-evac/pkg/identity"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// HostUpError is what ByHand refuses a host with whose nova-compute is up.
type HostUpError struct {
	Host    string
	Updated time.Time
}

// Error says what is wrong and what to do.
func (e *HostUpError) Error() string {
	return fmt.Sprintf("host %s: its nova-compute is up (last seen %s): its instances run; 'nova-evac host --fence %s' has it fenced first",
		e.Host, e.Updated.UTC().Format(time.RFC3339), e.Host)
}

// NotFencedError is what ByHand refuses a host with that is silent, and of which nobody
// says that it is off: it may be cut off, with its instances running.
type NotFencedError struct {
	Host    string
	Updated time.Time
	// Asked is why the fencing history is no help, nil where it says nothing of the host.
	Asked error
}

// Error says what is wrong and what to do.
func (e *NotFencedError) Error() string {
	why := "the cluster's fencing history does not say that it was fenced since"
	if e.Asked != nil {
		why = e.Asked.Error()
	}
	return fmt.Sprintf("host %s: it is silent since %s, and nothing proves that it is off: %s; its instances may run, and would run twice. "+
		"'nova-evac host --fence %s' has it fenced first; if you have switched it off yourself, say so with --i-have-powered-it-off",
		e.Host, e.Updated.UTC().Format(time.RFC3339), why, e.Host)
}

// ByHand records that an operator wants a host evacuated.
type ByHand struct {
	Nova    evacuate.Nova
	Records cib.Records
	Domain  string
	Now     func() time.Time
	// Fencings is the cluster's fencing history; nil where there is no cluster.
	Fencings func(ctx context.Context) ([]cluster.Fencing, error)
	// PoweredOff is the operator's word that the host is off.
	PoweredOff bool
	// Nodes are the cluster's nodes; nil where there is no cluster.
	Nodes []string
}

// Record writes the host's record. It refuses a host that Nova does not know, and one of
// which nothing proves that it is off: a record of it, the forced_down that somebody set in
// Nova, a fencing since its last heartbeat, or the operator's word. A host whose evacuation
// is under way already goes on as it is.
func (b ByHand) Record(ctx context.Context, host string) (cib.Stored, error) {
	at, err := lookUp(ctx, b.Nova, b.Records, host, b.Domain)
	if err != nil {
		return cib.Stored{}, err
	}
	if err := at.match.Err(); err != nil {
		return cib.Stored{}, err
	}
	service := at.match.Service
	name, old, recorded := service.Host, cib.Stored{}, len(at.records) > 0
	if recorded { // maybe under another name that the fence device gave it
		old, name = at.records[0], at.records[0].Host
	}
	if !recorded || old.Err != nil || !old.Unfinished() {
		if err := b.proof(ctx, at, host); err != nil {
			return cib.Stored{}, err
		}
	}
	switch {
	case at.fits != nil && recorded && old.Err == nil:
		return b.takeIn(ctx, old, *at.fits)
	case at.fits != nil:
		return b.rename(ctx, *at.fits, at)
	}
	node := identity.NodeOf(b.Nodes, service.Host, host)
	if node == name {
		node = ""
	}
	s, _, err := cib.Modify(ctx, b.Records, name, func(r cib.Stored, found bool) (record.Record, bool) {
		told, ours := record.ParseReason(service.DisabledReason)
		switch {
		case (!found || r.Err != nil) && ours && service.ForcedDown && told.Gen > 0:
			// There was a record, which is lost, and something may have been sent under it.
			lost := record.Recovered(name, told, b.Now())
			lost.Node = cmp.Or(lost.Node, node)
			return lost, true
		case !found || r.Err != nil:
			return record.NewlyFenced(name, node, b.Now()), true
		case r.Unfinished():
			return r.Record, false
		}
		return r.NextGeneration(cmp.Or(r.Node, node), b.Now()), true
	})
	return s, err
}

// rename puts a record under its name in Nova that was held because of its name. Nothing has
// been sent under the old one that the new one does not reckon with.
func (b ByHand) rename(ctx context.Context, old cib.Stored, at found) (cib.Stored, error) {
	next := old.Record
	next.Host, next.Node = at.match.Service.Host, old.NodeName()
	next = next.Held("", record.ForSupervisor, b.Now())
	s, err := b.Records.Create(ctx, next)
	if err != nil {
		return s, err
	}
	return s, b.Records.Delete(ctx, old)
}

// takeIn makes the record of the host one with a record that was held because nobody knew
// that it is of this host, too.
func (b ByHand) takeIn(ctx context.Context, r, other cib.Stored) (cib.Stored, error) {
	node := cmp.Or(identity.NodeOf(b.Nodes, r.NodeName(), other.NodeName()), r.Node, other.Node)
	s, err := b.Records.Replace(ctx, r, r.Merged(other.Record, node, b.Now()))
	if err != nil {
		return s, err
	}
	return s, b.Records.Delete(ctx, other)
}

// found is what there is of a host under a name.
type found struct {
	match identity.Match
	// records are those of the host, the one that is carried first. It has one, unless it was
	// recorded under two names. Where Nova does not say which host it is, it is the record that
	// has this name.
	records []cib.Stored
	// fits is a record that is held because nobody knows which host it is of, where it can be
	// this one; nil: there is none.
	fits  *cib.Stored
	cloud identity.Cloud
}

// lookUp finds a host's nova-compute, and its records: under the name that is given, or under
// any other.
func lookUp(ctx context.Context, n evacuate.Nova, records cib.Records, host, domain string) (f found, err error) {
	services, err := n.Services(ctx)
	if err != nil {
		return f, err
	}
	f.cloud = identity.NewCloud(services, domain, history.Clock{Ahead: n.Skew()})
	f.match = f.cloud.Named(host)
	all, err := records.Query(ctx)
	if err != nil {
		return f, err
	}
	if of := identity.Recorded(all, host); f.match.State == identity.Unknown && len(of) == 1 && identity.Of(of[0].Record).Is(host) {
		// It is a name that only the record knows, such as the node's.
		if m := f.cloud.Of(of[0].Record); m.State == identity.One {
			f.match = m
		}
	}
	if f.match.State == identity.One {
		f.records = f.cloud.ByHost(all)[f.match.Service.Host]
	}
	var meant []cib.Stored
	for _, r := range all {
		if f.match.State == identity.One && r.Host != host && f.canBe(r, host) {
			f.fits = &r
		}
	}
	if len(f.records) > 0 {
		return f, nil
	}
	for _, r := range identity.Recorded(all, host) {
		if is := f.cloud.Of(r.Record).State == identity.One; !is && (r.Host == host || f.match.State != identity.One) {
			meant = append(meant, r) // whatever Nova has, this is the record of that name
		}
	}
	if len(meant) > 1 {
		return f, severalMeant(host, meant)
	}
	f.records = meant
	return f, nil
}

// canBe answers whether a record is held because nobody knows what host it is of, and can be
// of the one that was found.
func (f found) canBe(r cib.Stored, host string) bool {
	if r.Err != nil || r.Hold != record.HeldByName || !r.Unfinished() || r.Owner != "" {
		return false
	}
	m := f.cloud.Of(r.Record)
	return m.State != identity.One && (slices.Contains(m.Names(), f.match.Service.Host) || identity.Of(r.Record).Fit(host))
}

// proof fails where nothing says that a host is off.
func (b ByHand) proof(ctx context.Context, at found, host string) error {
	service, clock, heard := at.match.Service, at.cloud.Clock, history.Stamp(at.match.Service.Updated)
	if b.PoweredOff || service.ForcedDown {
		return nil
	}
	names := []string{host, service.Host}
	if len(at.records) > 0 && at.records[0].Err == nil {
		names = append(names, at.records[0].NodeName())
	}
	if at.fits != nil {
		names = append(names, at.fits.NodeName())
		if !clock.Fenced(at.fits.Since).Over(heard) {
			return nil // it was fenced, and what it is was all that was not known
		}
	}
	var asked error
	if b.Fencings == nil {
		asked = errors.New("there is no cluster to ask")
	} else {
		var fencings []cluster.Fencing
		fencings, asked = b.Fencings(ctx)
		// Nova writes its heartbeats every ten seconds, by a clock of its own.
		for _, f := range fencings {
			target := slices.ContainsFunc(names, func(name string) bool { return identity.Fit(f.Target, name) })
			if target && !clock.Fenced(f.Completed).Over(heard) {
				return nil
			}
		}
	}
	if service.Up {
		return &HostUpError{service.Host, service.Updated}
	}
	return &NotFencedError{service.Host, service.Updated, asked}
}
