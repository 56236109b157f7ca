package supervisor

import (
	"context"
	"fmt"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/evacuate"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/ownership"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// Power is the hand on the power of compute hosts. *cluster.Power is one.
type Power interface {
	// On has a node powered on; Off has it fenced, and returns when it is off and recorded.
	On(ctx context.Context, node string) error
	Off(ctx context.Context, node string) error
	// Answer asks a node's machine whether it is on.
	Answer(ctx context.Context, node string) (cluster.Answer, error)
	// Gate says whether a gate attests that it holds nova-compute of a node back.
	Gate(ctx context.Context, node string) (cluster.Gate, error)
	// KeepApart keeps the cluster from connecting to a node that is off, and Rejoin lets it.
	// Apart names the nodes that are kept so.
	KeepApart(ctx context.Context, node string) error
	Rejoin(ctx context.Context, node string) error
	Apart(ctx context.Context) ([]string, error)
}

const (
	// sourceEvery is the pause between two looks at the machine of a host whose instances
	// have not left it. A machine answers long before its nova-compute starts.
	sourceEvery = time.Second
	// bootLeast is how long a compute host boots at least until its nova-compute starts guests.
	bootLeast = 30 * time.Second
	// refenceEvery is the pause between two tries to have a host fenced again.
	refenceEvery = 30 * time.Second
)

// sighting is what a worker knows of its host's power besides what the record says.
type sighting struct {
	looked bool        // the machine was asked
	back   record.Back // the most that was seen in this generation
	gate   cluster.Gate
	asked  bool // the gate was asked, since the host is known to be on
	// trouble is why the host could not be fenced again.
	trouble string
}

// source says what is known of the host's power. The engine asks before it sends anything.
func (w *worker) source(beat nova.Beat) evacuate.Source {
	w.mu.Lock()
	defer w.mu.Unlock()
	if beat == nova.Alive {
		w.seen.back = record.BackRunning
	}
	back := w.record.Back
	if w.seen.back.Beyond(back) {
		back = w.seen.back
	} else if w.record.Overruled() {
		return evacuate.SourceOff
	}
	switch {
	case back == record.BackRunning:
		return evacuate.SourceRuns
	case beat == nova.Moved:
		return evacuate.SourceUnsure
	case back == record.BackOn && w.seen.gate == cluster.GateHolds:
		return evacuate.SourceGated
	case back == record.BackOn && w.s.Power != nil && (!w.seen.asked || w.seen.gate == cluster.GateHeard):
		return evacuate.SourceUnsure
	case back == record.BackOn:
		return evacuate.SourceOn
	case w.s.Power != nil && !w.seen.looked:
		return evacuate.SourceUnsure
	}
	return evacuate.SourceOff
}

// watchSource looks at the host's machine until the worker ends, puts on record what it
// sees, and has the host fenced again where that is called for. It closes looked when it
// has looked once.
func (w *worker) watchSource(ctx context.Context, looked chan<- struct{}) {
	if w.s.Power != nil {
		w.lookAtSource(ctx)
	}
	close(looked)
	if w.s.Power == nil {
		return
	}
	tick := time.NewTicker(sourceEvery)
	defer tick.Stop()
	var tried time.Time
	for {
		if w.mayRefence() && w.s.Now().Sub(tried) >= refenceEvery {
			tried = w.s.Now()
			w.refence(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.lookAtSource(ctx)
		}
	}
}

// lookAtSource asks the machine, the gate and the cluster once.
func (w *worker) lookAtSource(ctx context.Context) {
	w.mu.Lock()
	node, known := w.record.NodeName(), w.record.Back
	w.mu.Unlock()
	answer, err := w.s.Power.Answer(ctx, node)
	if err != nil || ctx.Err() != nil {
		return // the cluster is away: nothing is sent either
	}
	// Of a remote node that is off the cluster says that it is online while it tries to
	// connect. A full member that is online is on.
	member, is := w.s.node(node)
	on := answer != cluster.NoAnswer || is && !member.Remote && member.Online
	gate, asks := cluster.NoGate, on || known != record.NotBack
	if asks {
		if gate, err = w.s.Power.Gate(ctx, node); err != nil {
			return
		}
	}
	w.mu.Lock()
	w.seen.looked, w.seen.gate, w.seen.asked = true, gate, asks
	if on && w.seen.back == record.NotBack {
		w.seen.back = record.BackOn
	}
	seen, known := w.seen.back, w.record.Back
	w.mu.Unlock()
	if !seen.Beyond(known) {
		return
	}
	w.say("the host is on again before its instances have left (%s)", map[record.Back]string{record.BackOn: "its machine answers", record.BackRunning: "its nova-compute runs"}[seen])
	err = w.last(ownership.SameGeneration, func(r record.Record) record.Record {
		r, _ = r.Seen(seen, w.s.Now())
		return r
	})
	if err != nil {
		w.log.Debugf("note that the host is on again: %v", err) // the next look does
	}
}

// say warns of what is seen at every look once.
func (w *worker) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if w.said != text {
		w.said = text
		w.log.Warn(text)
	}
}

// mayRefence answers whether the host is to be fenced again by ourselves: instances that
// may run there wait to be sent, and it was not done in an earlier generation. It must end
// no guest that runs well. So it is done right after the fencing, when the host cannot have
// booted yet, and later only where others have been sent already; and never to a host
// that came back while its evacuation was held.
func (w *worker) mayRefence() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, may := w.record.Refencing(record.BackOn, w.s.Now())
	decided := w.record.Refenced == w.record.Gen
	if !w.seen.asked || w.seen.gate != cluster.NoGate {
		return false
	}
	booting := w.progress.Source == evacuate.SourceOn && w.s.Now().Sub(w.record.Since) < bootLeast
	return may && w.s.Refence && w.progress.Held > 0 && w.progress.Source.On() && (decided || !w.held && (booting || w.progress.Begun))
}

// refence has the host fenced again. That it is to be done is on record first, so that it
// is done once whoever dies meanwhile; one that fails may be tried again. The hook makes
// a new generation of it.
func (w *worker) refence(ctx context.Context) {
	decided := false
	err := w.last(ownership.SameGeneration, func(r record.Record) record.Record {
		w.mu.Lock()
		seen := w.seen.back
		w.mu.Unlock()
		next, may := r.Refencing(seen, w.s.Now())
		decided = may
		return next
	})
	if err == nil && decided {
		w.log.Warn("the host is on, and its instances have not left: it is fenced again")
		err = w.s.Power.Off(context.WithoutCancel(ctx), w.node())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen.trouble = ""
	if err != nil {
		w.seen.trouble = fmt.Sprintf("fencing it again failed: %v", err)
	}
}

func (w *worker) node() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.record.NodeName()
}

// back names the hosts, by Nova's names, that were fenced and are on again.
func (s *Supervisor) back(services []nova.Service) map[string]bool {
	on := map[string]bool{}
	for _, r := range s.seen() {
		if r.Err != nil || r.Back == record.NotBack {
			continue
		}
		if service, err := nova.FindService(services, r.Host, s.Domain); err == nil {
			on[service.Host] = true
		}
	}
	return on
}

// node is what the cluster last said of one of its nodes.
func (s *Supervisor) node(name string) (cluster.Node, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, known := s.view.Nodes[name]
	return n, known
}
