package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// powerEvery is the pause between two tries to power a host on.
const powerEvery = 30 * time.Second

// powerOn has a host powered on that was kept off until its instances had left.
// A host to which an evacuation was sent before it died stays off until that has come to an
// end elsewhere: its nova-compute would take the message up, whatever has become of it.
func (s *Supervisor) powerOn(ctx context.Context, r cib.Stored, host string, services []nova.Service, look *watch, view cluster.View) error {
	wait := ""
	switch {
	case s.KeepOff:
		wait = fmt.Sprintf("an operator to power %s on: power_on=never", r.NodeName())
	case view.Maintenance:
		wait = "the cluster to leave its maintenance mode, for the host to be powered on"
	default:
		var err error
		if wait, err = s.queuedFor(ctx, host, services); err != nil {
			return err
		}
	}
	switch {
	case wait != "" && r.Skipped > 0:
		return nil // what was left, and why, is worth more than that
	case wait != "":
		return s.say(ctx, r, wait, look)
	case s.Now().Sub(look.tried[r.Host]) < powerEvery || !look.ours(r.Host, "power", s.Now()):
		return nil
	}
	look.tried[r.Host] = s.Now()
	w, err := s.claim(ctx, r, r.Powering(s.Owner, s.Now()))
	if w != nil {
		go w.runPowerOn()
	}
	return err
}

// queuedFor names an instance of another host whose evacuation may wait for a host as a
// message in its queue. It was sent elsewhere, or will be, and must have left its host
// before nova-compute finds the message: else both rebuild it.
func (s *Supervisor) queuedFor(ctx context.Context, host string, services []nova.Service) (string, error) {
	for _, other := range s.seen() {
		if other.Err != nil || !other.Unfinished() {
			continue
		}
		from, err := nova.FindService(services, other.Host, s.Domain)
		if err != nil {
			continue // nothing can have been sent from a host that Nova does not know
		}
		evacuations, err := s.Nova.Evacuations(ctx, from.Host, time.Time{})
		if err != nil {
			return "", err
		}
		servers, err := s.Nova.Servers(ctx, from.Host)
		if err != nil {
			return "", err
		}
		for _, server := range servers {
			untaken := slices.ContainsFunc(evacuations, func(m nova.Migration) bool {
				return m.Instance == server.ID && m.Source == from.Host && (m.Status == nova.StatusAccepted || m.Status == nova.StatusCompleted) && (m.Dest == "" || m.Dest == host)
			})
			if !untaken {
				continue
			}
			chosen, err := s.Nova.Destinations(ctx, server.ID)
			if err != nil && !errors.Is(err, nova.ErrNotFound) {
				return "", err
			}
			if slices.Contains(chosen, host) {
				return fmt.Sprintf("instance %s to leave %s before this host is powered on: it was sent here before the host died; 'nova-evac admit %s' does not wait for it",
					cmp.Or(server.Name, server.ID), other.Host, host), nil
			}
		}
	}
	return "", nil
}

// runPowerOn powers the worker's host on under its claim, and gives that back. Doing it twice
// harms nothing: whoever finds the claim of a dead owner does it again.
func (w *worker) runPowerOn() {
	defer close(w.ended)
	defer w.s.forget(w)
	defer w.cancel(nil)
	node := w.node()
	err := w.s.May()
	if err == nil {
		w.log.Info("its instances have left: the host is powered on")
		err = w.s.Power.On(w.ctx, node)
	}
	wait := fmt.Sprintf("the cluster to connect to %s, which was powered on", node)
	if err != nil {
		w.log.Warnf("power the host on: %v", err)
		wait = fmt.Sprintf("the host to be powered on, which failed: %v", err)
	}
	// The hook has noted that the host is on, where there is one in the level.
	gone := err
	if err := w.last(sameGeneration, func(r record.Record) record.Record {
		if gone == nil {
			r, _ = r.Seen(record.BackOn, w.s.Now())
		}
		if r.Owner, r.Updated = "", w.s.Now(); r.Skipped == 0 || gone != nil {
			r.Wait = wait
		}
		return r
	}); err != nil && !errors.Is(err, errLost) {
		w.log.Warnf("release the claim: %v", err)
	}
}

// reconnect lets the cluster connect to the nodes that are kept apart from it as soon as
// there is somebody to connect to, keeps it from nodes that are off, and notes of hosts
// that nobody carries that they are on. It is done by
// every supervisor that sees it, for doing it twice changes nothing; what it leaves behind
// when it dies the next one finds.
func (s *Supervisor) reconnect(ctx context.Context, records []cib.Stored, look *watch) error {
	apart, err := s.Power.Apart(ctx)
	if err != nil {
		return err
	}
	nodes := slices.Clone(apart)
	for _, r := range records {
		if r.Err == nil && r.Back == record.NotBack {
			nodes = append(nodes, r.NodeName())
		}
	}
	slices.Sort(nodes)
	answers, err := s.answers(ctx, slices.Compact(nodes))
	if err != nil {
		return err
	}
	look.apart = len(apart) > 0
	var errs []error
	for _, node := range apart {
		if answers[node] == cluster.Connectable {
			s.Log.WithField("host", node).Info("its pacemaker_remote answers: the cluster may connect to it")
			errs = append(errs, s.Power.Rejoin(ctx, node))
		}
	}
	for _, r := range records {
		node := r.NodeName()
		switch {
		case r.Err != nil || r.Back != record.NotBack:
		case answers[node] != cluster.NoAnswer && r.Owner == "":
			s.Log.WithField("host", r.Host).Info("its machine answers: it is on again")
			next, _ := r.Seen(record.BackOn, s.Now())
			errs = append(errs, s.change(ctx, r, next))
		case answers[node] == cluster.NoAnswer && !slices.Contains(apart, node):
			errs = append(errs, s.Power.KeepApart(ctx, node))
			look.apart = true
		}
	}
	return errors.Join(errs...)
}

// answersAtOnce is how many machines are asked at once: one that is off costs a while.
const answersAtOnce = 64

// answers asks the machines of nodes whether they are on.
func (s *Supervisor) answers(ctx context.Context, nodes []string) (map[string]cluster.Answer, error) {
	var mu sync.Mutex
	answers := map[string]cluster.Answer{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(answersAtOnce)
	for _, node := range nodes {
		group.Go(func() error {
			answer, err := s.Power.Answer(ctx, node)
			mu.Lock()
			defer mu.Unlock()
			answers[node] = answer
			return err
		})
	}
	return answers, group.Wait()
}
