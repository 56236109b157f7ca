package evacuate

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/nova-evac/nova-evac/pkg/history"
	"github.com/nova-evac/nova-evac/pkg/nova"
)

// noteArrivals finds the instances that have left the host and are to be stopped.
func (e *Evacuation) noteArrivals(s Situation) {
	listed := listed(s.History)
	for id, a := range s.Attempts {
		if a.Stop && !listed[id] && !a.unseen(s.History.Began) {
			e.arrived[id] = true
		}
	}
}

// noteOrphans finds the instances whose user has deleted them while they were rebuilt:
// their records are gone with them. Nova finishes the guest all the same, which nobody
// owns then until the destination's nova-compute reaps it, after half an hour by default
// (seen on Nova 26.2, case J; nova/compute/manager.py, _cleanup_running_deleted_instances).
func (e *Evacuation) noteOrphans(s Situation) {
	listed := listed(s.History)
	for _, i := range e.last.Instances {
		a, sent := s.Attempts[i.ID]
		accepted := sent && !a.Refused && !a.unseen(s.History.Began)
		if i.State != Rebuilding && !accepted || listed[i.ID] || s.History.Has(i.ID) {
			continue
		}
		what := deleted(i)
		e.orphaned = append(e.orphaned, what)
		e.Log.WithField("instance", i.ID).Warn(what)
	}
}

// listed are the instances that Nova has on the host.
func listed(h history.History) map[string]bool {
	listed := map[string]bool{}
	for _, i := range h.Instances {
		listed[i.Server.ID] = true
	}
	return listed
}

// stopArrivals stops them. One that Nova refuses to stop, or knows no more, is well; any
// other failure is tried again after the next look, and keeps nothing else from going on.
func (e *Evacuation) stopArrivals(ctx context.Context) error {
	for _, id := range slices.Sorted(maps.Keys(e.arrived)) {
		if err := e.May(); err != nil {
			return err
		}
		log := e.Log.WithField("instance", id)
		err := e.Nova.Stop(ctx, id)
		if err != nil && !errors.Is(err, nova.ErrRefused) && !errors.Is(err, nova.ErrNotFound) {
			log.Warnf("it was stopped when its host died, and runs: %v", err)
			continue
		}
		log.Info("stopped again: it was when its host died")
		delete(e.arrived, id)
	}
	return nil
}
