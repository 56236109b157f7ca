package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/identity"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/ownership"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// powerEvery is the pause between two tries to power a host on.
const powerEvery = 30 * time.Second

// poweredOn is the task of powering a host on.
type poweredOn struct{}

// powerOn has a host powered on that was kept off until its instances had left.
func (w *watch) powerOn(ctx context.Context, r cib.Stored, host string, now look) error {
	o, err := w.mayPowerOn(ctx, r, host, now)
	switch {
	case err != nil:
		return err
	case o != nil && r.Skipped > 0:
		return nil // the reason for what was left is worth more
	case o != nil:
		return w.say(ctx, r, o)
	case w.s.Now().Sub(w.tried[r.Host]) < powerEvery || !w.turns.mine(r.Host, poweredOn{}, w.s.Now()):
		return nil
	}
	w.tried[r.Host] = w.s.Now()
	c, err := w.s.claim(ctx, r, r.Powering(w.s.Owner, w.s.Now()))
	if c != nil {
		go c.work(poweringOn{c}.run)
	}
	return err
}

// mayPowerOn gives what stands in the way of powering an evacuated host on.
// A host to which an evacuation was sent before it died stays off until that has come to an
// end elsewhere: its nova-compute would take the message up, whatever has become of it.
func (w *watch) mayPowerOn(ctx context.Context, r cib.Stored, host string, now look) (obstacle, error) {
	switch {
	case w.s.KeepOff:
		return powerOnByHand{r.NodeName()}, nil
	case now.view.Maintenance:
		return powerInMaintenance{}, nil
	}
	return w.s.queuedFor(ctx, host, now.cloud)
}

// queuedFor names an instance of another host whose evacuation may wait for a host as a
// message in its queue. It was sent elsewhere, or will be, and must have left its host
// before nova-compute finds the message: else both rebuild it.
func (s *Supervisor) queuedFor(ctx context.Context, host string, cloud identity.Cloud) (obstacle, error) {
	for _, from := range s.sources(cloud) {
		evacuations, err := s.Nova.Evacuations(ctx, from.host, time.Time{})
		if err != nil {
			return nil, err
		}
		servers, err := s.Nova.Servers(ctx, from.host)
		if err != nil {
			return nil, err
		}
		for _, server := range servers {
			if !maybeQueued(server.ID, from.host, host, evacuations) {
				continue
			}
			chosen, err := s.Nova.Destinations(ctx, server.ID)
			if err != nil && !errors.Is(err, nova.ErrNotFound) {
				return nil, err
			}
			if slices.Contains(chosen, host) {
				return queuedHere{cmp.Or(server.Name, server.ID), from.record.Host, host}, nil
			}
		}
	}
	return nil, nil
}

// maybeQueued answers whether an evacuation of an instance may lie in the queue of dest.
func maybeQueued(id, source, dest string, evacuations []nova.Migration) bool {
	return slices.ContainsFunc(evacuations, func(m nova.Migration) bool {
		return m.Instance == id && m.Source == source && (m.Status == nova.StatusAccepted || m.Status == nova.StatusCompleted) && (m.Dest == "" || m.Dest == dest)
	})
}

// poweringOn powers a claimed host on, and gives the claim back. Doing it twice harms
// nothing: the supervisor that finds the claim of a dead one does it again.
type poweringOn struct{ *claim }

func (p poweringOn) run() {
	node := p.node()
	err := p.s.May()
	if err == nil {
		p.log.Info("its instances have left: the host is powered on")
		err = p.s.Power.On(p.ctx, node)
	}
	wait := fmt.Sprintf("the cluster to connect to %s, which was powered on", node)
	if err != nil {
		p.log.Warnf("power the host on: %v", err)
		wait = fmt.Sprintf("the host to be powered on, which failed: %v", err)
	}
	// The hook has noted that the host is on, where there is one in the level.
	if failed := p.update(ownership.SameGeneration, func(r record.Record) record.Record {
		if err == nil {
			r, _ = r.Seen(record.BackOn, p.s.Now())
		}
		if r.Owner, r.Updated = "", p.s.Now(); r.Skipped == 0 || err != nil {
			r.Wait = record.WaitFor(wait)
		}
		return r
	}); failed != nil && !errors.Is(failed, errLost) {
		p.log.Warnf("release the claim: %v", failed)
	}
}
