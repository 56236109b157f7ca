package supervisor

import (
	"context"
	"errors"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// reconnect lets the cluster connect to the nodes that are kept apart from it as soon as
// there is somebody to connect to, keeps it from nodes that are off, and notes of hosts
// that nobody carries that they are on. Every supervisor that sees it does so, for doing
// it twice changes nothing; what one leaves behind when it dies the next one finds.
func (w *watch) reconnect(ctx context.Context, records []cib.Stored) error {
	apart, err := w.s.Power.Apart(ctx)
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
	answers, err := w.s.answers(ctx, slices.Compact(nodes))
	if err != nil {
		return err
	}
	w.apart = len(apart) > 0
	var errs []error
	connectable := slices.DeleteFunc(slices.Clone(apart), func(node string) bool { return answers[node] != cluster.Connectable })
	if len(connectable) > 0 {
		errs = append(errs, w.rejoin(ctx, connectable))
	}
	for _, r := range records {
		if r.Err == nil && r.Back == record.NotBack {
			errs = append(errs, w.connection(ctx, r, answers[r.NodeName()], apart))
		}
	}
	return errors.Join(errs...)
}

// rejoin lets the cluster connect to nodes whose pacemaker_remote takes connections. Whether one may be fenced
// again is asked once more at the last moment.
func (w *watch) rejoin(ctx context.Context, nodes []string) error {
	records, err := w.s.Records.Query(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, node := range nodes {
		if !w.refenced(records, node) {
			w.s.Log.WithField("host", node).Info("its pacemaker_remote answers: the cluster may connect to it")
			errs = append(errs, w.s.Power.Rejoin(ctx, node))
		}
	}
	return errors.Join(errs...)
}

// refenced answers whether a node is about to be fenced again, or may be: see Record.Refencing.
// A connection that the cluster makes before that breaks by it.
func (w *watch) refenced(records []cib.Stored, node string) bool {
	return w.s.Refence && slices.ContainsFunc(records, func(r cib.Stored) bool {
		booting := r.Refenced == 0 && w.s.Now().Sub(r.Since) < bootLeast
		return r.Err == nil && r.NodeName() == node && r.Unfinished() && (booting || r.Refenced == r.Gen)
	})
}

// connection notes of a host that is off as far as its record knows that it is on, or keeps
// it apart. apart are the nodes that are kept so.
func (w *watch) connection(ctx context.Context, r cib.Stored, answer cluster.Answer, apart []string) error {
	switch {
	case answer != cluster.NoAnswer && r.Owner == "":
		w.s.Log.WithField("host", r.Host).Info("its machine answers: it is on again")
		next, _ := r.Seen(record.BackOn, w.s.Now())
		return w.s.change(ctx, r, next)
	case answer == cluster.NoAnswer && !slices.Contains(apart, r.NodeName()):
		w.apart = true
		return w.s.Power.KeepApart(ctx, r.NodeName())
	}
	return nil
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
