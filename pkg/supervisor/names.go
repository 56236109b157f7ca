package supervisor

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/evacuate"
	"github.com/nova-evac/nova-evac/pkg/history"
	"github.com/nova-evac/nova-evac/pkg/identity"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// cloud is what Nova says of its hosts.
func (s *Supervisor) cloud(services []nova.Service) identity.Cloud {
	return identity.NewCloud(services, s.Domain, history.Clock{Ahead: s.Nova.Skew()})
}

// names are all that is known of names at a moment.
type names struct {
	cloud   identity.Cloud
	records []cib.Stored
	view    cluster.View
}

// maybeSame answers whether a record of which it is not clear what host it is of may be of a
// host of Nova's that has another record, r.
func (n names) maybeSame(other cib.Stored, r record.Record, host string) bool {
	if other.Host == r.Host || other.Err != nil || !other.Unfinished() {
		return false
	}
	m := n.cloud.Of(other.Record)
	if m.State == identity.Stale && other.Hold == record.Resumed {
		return false // an operator has said which one it is
	}
	_, known := n.view.Nodes[r.NodeName()]
	_, otherKnown := n.view.Nodes[other.NodeName()]
	return (m.State == identity.Ambiguous || m.State == identity.Stale) && slices.Contains(m.Names(), host) &&
		!(known && otherKnown && r.NodeName() != other.NodeName())
}

// whichHost gives the host of Nova's that a record is of, or what keeps that from being
// known.
func (s *Supervisor) whichHost(ctx context.Context, r record.Record, n names) (nova.Service, obstacle, error) {
	cloud := n.cloud
	m := cloud.Of(r)
	// An operator has seen what there is, and wants it evacuated all the same.
	overruled := r.Hold == record.Resumed
	switch {
	case m.State == identity.Unknown:
		o := hostUnknown{host: r.Host}
		if node := cloud.Named(r.NodeName()); node.State == identity.One {
			o.maybe = node.Service.Host
		}
		return m.Service, o, nil
	case m.State == identity.Ambiguous:
		return m.Service, ambiguous(m), nil
	case m.State == identity.Stale && !overruled:
		return m.Service, stale(m), nil
	case overruled:
		return m.Service, nil, nil
	}
	// What becomes of the host may stand in another record, and nobody knows.
	for _, other := range n.records {
		if n.maybeSame(other, r, m.Service.Host) {
			return m.Service, hostMaybeTwice{host: m.Service.Host, record: r.Host, other: other.Host}, nil
		}
	}
	if !m.Silent || r.Gen > 1 {
		return m.Service, nil, nil
	}
	// It has had its host's name for long, and no life. The host may bear another name now.
	servers, err := s.Nova.Servers(ctx, m.Service.Host)
	if err != nil || len(servers) > 0 {
		return m.Service, nil, err
	}
	return m.Service, hostEmpty{record: r.Host, host: m.Service.Host, since: silentSince(m)}, nil
}

// identify finds out which of Nova's hosts is to be evacuated, until Nova has answered, and
// takes the host's ledger into use. There is none where that is not known, so that the record
// is held, and where the host is carried under another name. Nothing has been sent before.
func (e *evacuation) identify() (host string, ledger *evacuate.Ledger) {
	pause := time.NewTicker(time.Second)
	defer pause.Stop()
	for {
		service, is, err := e.identifyNow()
		switch {
		case e.ctx.Err() != nil, err == nil && !is:
			return "", nil
		case err == nil:
			if ledger = e.s.ledgers.take(service.Host, e.s.Policy); ledger != nil {
				return service.Host, ledger
			}
			err = &otherWorkError{service.Host, e.s.Owner}
		}
		e.report(evacuate.Progress{Wait: err.Error()})
		select {
		case <-e.ctx.Done():
		case <-pause.C:
		}
	}
}

// otherWorkError: the host is being carried under another record.
type otherWorkError struct{ host, owner string }

func (e *otherWorkError) Error() string {
	return "the work of " + e.owner + " on " + e.host + ", which is the same host, to end"
}

// errChanged: the records are not any more as they were read.
var errChanged = errors.New("the host's records to be one, which is recorded under two names")

// identifyNow looks once. An error says that it has to be tried again.
func (e *evacuation) identifyNow() (nova.Service, bool, error) {
	services, err := e.s.Nova.Services(e.ctx)
	if err != nil {
		return nova.Service{}, false, err
	}
	// The records are read after the claim was written: of two who claim one host under two
	// names, one at least sees the other.
	all, err := e.s.Records.Query(e.ctx)
	if err != nil {
		return nova.Service{}, false, err
	}
	cloud, mine := e.s.cloud(services), e.stored()
	now := names{cloud, all, e.s.permit.last()}
	service, o, err := e.s.whichHost(e.ctx, mine.Record, now)
	if err != nil {
		return service, false, err
	}
	if o != nil {
		if err := e.holdOthers(now); err != nil {
			return service, false, err
		}
		err := e.hold(record.HeldByName, o.String())
		if errors.Is(err, errLost) {
			err = nil
		}
		return service, false, err
	}
	for _, other := range cloud.Records(all, service) {
		if other.Host == mine.Host || other.Err != nil {
			continue
		}
		if err := e.s.May(); err != nil {
			return service, false, err
		}
		if identity.Carried(other.Record, mine.Record) {
			return service, false, e.giveTo(other)
		}
		if other.Owner != "" {
			return service, false, &otherWorkError{other.Host, other.Owner}
		}
		if err := e.takeIn(other); err != nil {
			return service, false, err
		}
		mine = e.stored()
	}
	return service, true, nil
}

// holdOthers holds the records of hosts that the claimed record may be of, too: of what
// becomes of such a host nobody knows who has to be told.
func (e *evacuation) holdOthers(now names) error {
	if err := e.s.May(); err != nil {
		return err
	}
	mine := e.stored()
	for _, r := range now.records {
		m := now.cloud.Of(r.Record)
		if r.Err != nil || !r.Unfinished() || r.OnHold() || r.Hold == record.Resumed || m.State != identity.One || !now.maybeSame(mine, r.Record, m.Service.Host) {
			continue
		}
		o := hostMaybeTwice{host: m.Service.Host, record: r.Host, other: mine.Host}
		_, err := e.s.Records.Replace(e.ctx, r, r.Held(record.HeldByName, record.WaitFor(o.String()), e.s.Now()))
		if errors.Is(err, cib.ErrConflict) {
			return errChanged
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// giveTo ends the claim for another record of the same host, which takes in what this one says.
func (e *evacuation) giveTo(other cib.Stored) error {
	mine := e.stored()
	e.log.Warnf("it is the host that is recorded as %s: that record is carried", other.Host)
	if err := e.s.merge(e.ctx, other, mine, e.s.permit.last()); err != nil {
		return err
	}
	err := e.deleteRecord()
	if errors.Is(err, cib.ErrConflict) {
		return errChanged
	}
	return err
}

// takeIn takes another record of the same host, which nobody owns, into the claimed one.
func (e *evacuation) takeIn(other cib.Stored) error {
	e.log.Warnf("the host is recorded as %s, too: the records are made one", other.Host)
	mine := e.stored()
	next := mine.Merged(other.Record, nodeOf(e.s.permit.last(), mine.Record, other.Record), e.s.Now())
	next.Phase = record.Evacuating
	s, err := e.s.Records.Replace(e.ctx, mine, next)
	if err == nil {
		e.saw(s)
		err = e.s.Records.Delete(e.ctx, other)
	}
	if errors.Is(err, cib.ErrConflict) {
		return errChanged
	}
	return err
}

// merge takes what a record says into another one of the same host.
func (s *Supervisor) merge(ctx context.Context, into, from cib.Stored, view cluster.View) error {
	_, err := s.Records.Replace(ctx, into, into.Merged(from.Record, nodeOf(view, into.Record, from.Record), s.Now()))
	if errors.Is(err, cib.ErrConflict) {
		return errChanged
	}
	return err
}

// nodeOf gives the cluster's name of a host that is recorded twice: one record may have been
// made by somebody who did not know it.
func nodeOf(view cluster.View, r, other record.Record) string {
	for _, name := range []string{r.NodeName(), other.NodeName()} {
		if _, known := view.Nodes[name]; known {
			return name
		}
	}
	return cmp.Or(r.Node, other.Node)
}

// merged is the task of making the records of one host one.
type merged struct{}

// mergeDoubles makes the records of one host one, of which nobody carries any. It returns the
// hosts, as they are recorded, that have more than one record: nothing else is done about them.
func (w *watch) mergeDoubles(ctx context.Context, now look) (map[string]bool, error) {
	doubles := map[string]bool{}
	for _, records := range now.cloud.ByHost(w.s.known.all()) {
		if len(records) == 1 {
			continue
		}
		for _, r := range records {
			doubles[r.Host] = true
		}
		kept, other := records[0], records[1]
		if kept.Err != nil || other.Err != nil || other.Owner != "" || !w.turns.mine(other.Host, merged{}, w.s.Now()) {
			continue
		}
		w.s.Log.WithField("host", kept.Host).Warnf("the host is recorded as %s, too: the records are made one", other.Host)
		err := w.s.merge(ctx, kept, other, now.view)
		if err == nil {
			err = w.s.Records.Delete(ctx, other)
		}
		if err != nil && !errors.Is(err, errChanged) && !errors.Is(err, cib.ErrConflict) {
			return doubles, err
		}
	}
	return doubles, nil
}

// named is the task of letting a record go on that was held because of its name.
type named struct{}

// nameAgain lets a record go on that is held because of its name, once it is known which host
// it is of.
func (w *watch) nameAgain(ctx context.Context, r cib.Stored, now look) error {
	if w.s.claims.of(r.Host) != nil {
		return nil
	}
	_, o, err := w.s.whichHost(ctx, r.Record, names{now.cloud, w.s.known.all(), now.view})
	if err != nil {
		return err
	}
	var task any = named{}
	if o != nil {
		task = o
	}
	next, changed := heldByName(r.Record, o, w.s.Now())
	if !changed || !w.turns.mine(r.Host, task, w.s.Now()) {
		return nil
	}
	if o == nil {
		w.s.Log.WithField("host", r.Host).Info("it is known which host it is: no longer held")
	}
	return w.s.change(ctx, r, next)
}

// heldByName is a record that is held because of its name as it has to be now. It returns
// false where that is how it stands.
func heldByName(r record.Record, because obstacle, now time.Time) (record.Record, bool) {
	if because == nil {
		return guarded(r, nil, now)
	}
	wait := record.WaitFor(because.String())
	return r.Held(record.HeldByName, wait, now), wait != r.Wait
}

// toldOf are the hosts of Nova's that an evacuation of a record may have been sent from.
func toldOf(cloud identity.Cloud, r record.Record) []nova.Service {
	m := cloud.Of(r)
	if m.State == identity.One {
		return []nova.Service{m.Service}
	}
	return m.Fitting
}
