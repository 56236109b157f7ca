package supervisor

import (
	"context"
	"errors"
	"maps"
	"strings"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/evacuate"
	"github.com/nova-evac/nova-evac/pkg/heartbeat"
	"github.com/nova-evac/nova-evac/pkg/history"
	"github.com/nova-evac/nova-evac/pkg/identity"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/ownership"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// Guard bounds how much may be down at once for a new evacuation to begin: when half of
// a cloud is gone, a switch is broken, and not its hosts.
type Guard struct {
	// Share is in percent of the compute hosts; 0 and 100 are no bound.
	Share int
	// Hosts is a number of compute hosts; 0 is no bound.
	Hosts int
}

// settleTime is how old a fencing has to be for the guard to judge: of hosts that die at
// once Pacemaker notices one up to the interval of a monitor before the other.
const settleTime = 3 * time.Second

func (g Guard) sharesBounded() bool { return g.Share > 0 && g.Share < 100 }

func (g Guard) bounded() bool { return g.sharesBounded() || g.Hosts > 0 }

// storm is the obstacle that so many of all compute hosts are down.
func (g Guard) storm(down, all int) obstacle {
	switch {
	case g.sharesBounded() && down*100 > g.Share*all:
		return tooLargeShare{down, all, g.Share}
	case g.Hosts > 0 && down > g.Hosts:
		return tooManyDown{down, all, g.Hosts}
	}
	return nil
}

// census says of compute hosts, by Nova's names, which are on and which are down.
type census struct {
	on, down map[string]bool
	// recorded are those that are being evacuated.
	recorded map[string]bool
	// mapped is how many remote nodes are down whose names in Nova only the fence device's host
	// map knows, and unseen are the hosts that they can be: those of which neither the cluster
	// nor a record says anything.
	mapped int
	unseen []nova.Service
}

// takeCensus counts who was fenced and is not back, and who is no live member of the cluster:
// when many hosts die at once the cluster knows it long before Nova does. awake are the
// hosts whose nova-compute was seen alive although Nova was told that they are down.
func takeCensus(cloud identity.Cloud, records []cib.Stored, view cluster.View, awake map[string]bool) census {
	c := census{on: map[string]bool{}, down: map[string]bool{}, recorded: map[string]bool{}}
	maps.Copy(c.on, awake)
	off := keptOff(records, view)
	hosts, known := hostsOfNodes(cloud, records, view), map[string]bool{}
	for name, n := range view.Nodes {
		host, is := hosts[name]
		switch {
		case is:
			known[host] = true
			c.on[host] = n.Live() && !off[name]
			c.down[host] = !c.on[host]
		case n.Remote && (!n.Live() || off[name]):
			c.mapped++
		}
	}
	for _, r := range records {
		if m := cloud.Of(r.Record); m.State == identity.One && r.Err == nil && r.Unfinished() {
			known[m.Service.Host], c.recorded[m.Service.Host] = true, true
			c.down[m.Service.Host] = !c.on[m.Service.Host]
		}
	}
	for _, s := range cloud.Services {
		if !known[s.Host] {
			c.unseen = append(c.unseen, s)
		}
	}
	return c
}

// hostsOfNodes leads from the cluster's nodes to Nova's hosts, where that is known: from the
// records, which have both names, or because the names fit.
func hostsOfNodes(cloud identity.Cloud, records []cib.Stored, view cluster.View) map[string]string {
	hosts := map[string]string{}
	for name := range view.Nodes {
		if m := cloud.Named(name); m.State == identity.One {
			hosts[name] = m.Service.Host
		}
	}
	for _, r := range records {
		if m := cloud.Of(r.Record); m.State == identity.One && r.Node != "" {
			hosts[r.Node] = m.Service.Host
		}
	}
	return hosts
}

// keptOff names the remote nodes that are off as far as the records know. Such a node is
// shown as online while the cluster tries to connect to it.
func keptOff(records []cib.Stored, view cluster.View) map[string]bool {
	off := map[string]bool{}
	for _, r := range records {
		off[r.NodeName()] = r.Err == nil && r.Back == record.NotBack && view.Nodes[r.NodeName()].Remote
	}
	return off
}

// longAgo is how long a nova-compute has to be silent not to count any more. A service that
// nobody has deleted is no host that is down just now.
const longAgo = 24 * time.Hour

// count counts the compute hosts, and those that are down or do not answer Nova. Hosts that
// an operator has disabled do not count, nor those that have been silent for long and are not
// being evacuated.
func (c census) count(cloud identity.Cloud, now time.Time) (down, all int) {
	counts := func(s nova.Service) bool {
		past := !s.Up && !s.Partial && !s.Updated.IsZero() && cloud.Clock.Time(now).Sub(history.Stamp(s.Updated)) > longAgo
		return (s.Enabled || s.Ours()) && (!past || s.Ours() || c.recorded[s.Host])
	}
	silent := func(s nova.Service) bool {
		return !s.Up && !s.Partial && !(s.ForcedDown && s.Ours() && c.on[s.Host])
	}
	for _, s := range cloud.Services {
		if counts(s) {
			all++
			if c.down[s.Host] || silent(s) {
				down++
			}
		}
	}
	// The nodes of which only a host map knows what Nova calls them die unseen by it at first.
	left := c.mapped
	for _, s := range c.unseen {
		if counts(s) && silent(s) {
			left-- // this is one of them
		}
	}
	for _, s := range c.unseen {
		if left > 0 && counts(s) && !silent(s) {
			left--
			down++
		}
	}
	return down, all
}

// mayBegin gives what stands in the way of a new evacuation. awake is for takeCensus.
func (s *Supervisor) mayBegin(ctx context.Context, cloud identity.Cloud, records []cib.Stored, view cluster.View, awake map[string]bool) (obstacle, error) {
	if view.Maintenance {
		return inMaintenance{}, nil
	}
	if storm := s.Guard.storm(takeCensus(cloud, records, view, awake).count(cloud, s.Now())); storm != nil {
		return storm, nil
	}
	missing, err := s.Nova.Missing(ctx)
	if err != nil || len(missing) == 0 {
		return nil, err
	}
	return serviceMissing{strings.Join(missing, " and ")}, nil
}

// mayBeginNow is mayBegin with all that the guard looks at as it is now.
func (s *Supervisor) mayBeginNow(ctx context.Context) (obstacle, error) {
	services, err := s.Nova.Services(ctx)
	if err != nil {
		return nil, err
	}
	view, err := s.Members.View(ctx)
	if err != nil {
		return nil, err
	}
	records, err := s.Records.Query(ctx)
	if err != nil {
		return nil, err
	}
	return s.mayBegin(ctx, s.cloud(services), records, view, nil)
}

// passes asks the guard before a new evacuation begins, until Nova has answered. Where
// the guard says no, the record is held and the claim given back.
func (e *evacuation) passes() bool {
	pause := time.NewTicker(time.Second)
	defer pause.Stop()
	fenced := e.stored().Since
	for {
		// Whatever the clock of the hook's controller says.
		left := min(settleTime-e.s.Now().Sub(fenced), settleTime)
		if e.s.Guard.bounded() && left > 0 {
			select {
			case <-e.ctx.Done():
			case <-time.After(left):
			}
		}
		obstacle, err := e.s.mayBeginNow(e.ctx)
		switch {
		case e.ctx.Err() != nil:
			return true // the engine notices, and says so
		case err == nil && obstacle == nil:
			return true
		case err == nil:
			why := obstacle.String() + heldHint(e.host)
			if err = e.hold(record.HeldByGuard, why); err == nil || errors.Is(err, errLost) {
				return false
			}
		}
		e.report(evacuate.Progress{Wait: err.Error()})
		select {
		case <-e.ctx.Done():
		case <-pause.C:
		}
	}
}

// hold has the record held, and gives the claim back.
func (e *evacuation) hold(by record.Hold, why string) error {
	e.setReleasing(true)
	err := e.update(ownership.SameGeneration, func(r record.Record) record.Record {
		r = r.Held(by, record.WaitFor(why), e.s.Now())
		r.Owner = ""
		if by == record.HeldByGuard {
			r.Phase = record.Fenced // it has not begun
		}
		return r
	})
	if err == nil || errors.Is(err, errLost) {
		e.log.Warnf("held; waiting for %s", why)
		return err
	}
	e.setReleasing(false)
	return err
}

// released is the task of letting a record go on that the guard held.
type released struct{}

// guardAgain lets the records go on that the guard holds, once it has passed.
func (w *watch) guardAgain(ctx context.Context, records []cib.Stored, now look) error {
	obstacle, err := w.s.mayBegin(ctx, now.cloud, w.s.known.all(), now.view, w.awake(records, now.cloud))
	if err != nil {
		return err
	}
	var task any = released{}
	if obstacle != nil {
		task = obstacle
	}
	for _, r := range records {
		if !r.Unfinished() || r.Hold != record.HeldByGuard {
			continue
		}
		next, changed := guarded(r.Record, obstacle, w.s.Now())
		if !changed || !w.turns.mine(r.Host, task, w.s.Now()) {
			continue
		}
		if obstacle == nil {
			w.s.Log.WithField("host", r.Host).Info("no longer held")
		}
		if err := w.s.change(ctx, r, next); err != nil {
			return err
		}
	}
	return nil
}

// guarded is the record of a host that the guard holds as it has to be now. It returns
// false where that is how it stands.
func guarded(r record.Record, because obstacle, now time.Time) (record.Record, bool) {
	hold, wait := record.Hold(""), record.ForSupervisor
	switch {
	case because != nil:
		hold, wait = record.HeldByGuard, record.WaitFor(because.String()+heldHint(r.Host))
	case r.Back != record.NotBack:
		// Its instances may run there: an operator says what is done about it.
		hold = record.HeldBySource
	}
	return r.Held(hold, wait, now), hold != r.Hold || wait != r.Wait
}

// awake names the hosts of records, by Nova's names, whose nova-compute is alive.
func (w *watch) awake(records []cib.Stored, cloud identity.Cloud) map[string]bool {
	awake := map[string]bool{}
	for _, r := range records {
		if m := cloud.Of(r.Record); m.State == identity.One && w.heartbeats.Look(m.Service, r.Since, w.s.Now()) == heartbeat.Alive {
			awake[m.Service.Host] = true
		}
	}
	return awake
}
