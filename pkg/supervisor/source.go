package supervisor

import (
	"context"
	"fmt"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/evacuate"
	"github.com/nova-evac/nova-evac/pkg/heartbeat"
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
	// firstLooks is how often a machine is asked before it is taken to be off: one packet may
	// be lost.
	firstLooks = 3
	// refenceEvery is the pause between two tries to have a host fenced again.
	refenceEvery = 30 * time.Second
	// disconnectTime bounds the wait for the cluster to end its connection to a host that is to
	// be fenced again. It takes a second or two, and longer where a resource there is slow to
	// stop.
	disconnectTime, disconnectEvery = 15 * time.Second, 500 * time.Millisecond
)

// sighting is what an evacuation knows of its host's power besides what the record says.
type sighting struct {
	looks int         // how often the machine was asked
	back  record.Back // the most that was seen in this generation
	gate  cluster.Gate
	asked bool // the gate was asked, since the host is known to be on
	// trouble is why the host could not be fenced again; nil: it could, or was not to be.
	trouble error
}

// source says what is known of the host's power. The engine asks before it sends anything.
func (e *evacuation) source(sign heartbeat.Sign) evacuate.Source {
	e.mu.Lock()
	defer e.mu.Unlock()
	if sign == heartbeat.Alive {
		e.seen.back = record.BackRunning
	}
	back := e.record.Back
	if e.seen.back.Beyond(back) {
		back = e.seen.back
	} else if e.record.Overruled() {
		return evacuate.SourceOff
	}
	switch {
	case back == record.BackRunning:
		return evacuate.SourceRuns
	case sign == heartbeat.Moved:
		return evacuate.SourceUnsure
	case back == record.BackOn && e.seen.gate == cluster.GateHolds:
		return evacuate.SourceGated
	case back == record.BackOn && e.s.Power != nil && (!e.seen.asked || e.seen.gate == cluster.GateHeard):
		return evacuate.SourceUnsure
	case back == record.BackOn:
		return evacuate.SourceOn
	case e.s.Power != nil && e.seen.looks < firstLooks:
		return evacuate.SourceUnsure
	}
	return evacuate.SourceOff
}

// watchSource looks at the host's machine until the evacuation ends, puts on record what it
// sees, and has the host fenced again where that is called for. It closes looked when it
// has looked often enough for a first answer.
func (e *evacuation) watchSource(ctx context.Context, looked chan<- struct{}) {
	if e.s.Power != nil {
		for range firstLooks {
			e.lookAtSource(ctx)
		}
	}
	close(looked)
	if e.s.Power == nil {
		return
	}
	tick := time.NewTicker(sourceEvery)
	defer tick.Stop()
	var tried time.Time
	for {
		if e.mayRefence() && e.s.Now().Sub(tried) >= refenceEvery {
			tried = e.s.Now()
			e.refence(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if ctx.Err() != nil { // both had come while the host was fenced
				return
			}
			e.lookAtSource(ctx)
		}
	}
}

// lookAtSource asks the machine, the gate and the cluster once.
func (e *evacuation) lookAtSource(ctx context.Context) {
	e.mu.Lock()
	node, known := e.record.NodeName(), e.record.Back
	e.mu.Unlock()
	answer, err := e.s.Power.Answer(ctx, node)
	if err != nil || ctx.Err() != nil {
		return // the cluster is away: nothing is sent either
	}
	// Of a remote node that is off the cluster says that it is online while it tries to
	// connect. A full member that is online is on.
	member, is := e.s.permit.node(node)
	on := answer != cluster.NoAnswer || is && !member.Remote && member.Online
	gate, asks := cluster.NoGate, on || known != record.NotBack
	if asks {
		if gate, err = e.s.Power.Gate(ctx, node); err != nil {
			return
		}
	}
	e.mu.Lock()
	e.seen.gate, e.seen.asked = gate, asks
	e.seen.looks++
	if on && e.seen.back == record.NotBack {
		e.seen.back = record.BackOn
	}
	seen, known := e.seen.back, e.record.Back
	e.mu.Unlock()
	if !seen.Beyond(known) {
		return
	}
	e.warnOnce("the host is on again before its instances have left (%s)", map[record.Back]string{record.BackOn: "its machine answers", record.BackRunning: "its nova-compute runs"}[seen])
	err = e.update(ownership.SameGeneration, func(r record.Record) record.Record {
		r, _ = r.Seen(seen, e.s.Now())
		return r
	})
	if err != nil {
		e.log.Debugf("note that the host is on again: %v", err) // the next look does
	}
}

// warnOnce warns once of what is seen at every look.
func (e *evacuation) warnOnce(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if e.warned != text {
		e.warned = text
		e.log.Warn(text)
	}
}

// mayRefence answers whether the host is to be fenced again by ourselves: instances that
// may run there wait to be sent, or their requests have no answer and may take effect when
// the host has booted; and it was not done in an earlier generation. It must end no guest
// that runs well. So it is done right after the fencing, when the host cannot have booted
// yet, and later only where others have been sent already; and never to a host that came
// back while its evacuation was held.
func (e *evacuation) mayRefence() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, may := e.record.Refencing(record.BackOn, e.s.Now())
	decided := e.record.Refenced == e.record.Gen
	if !e.seen.asked || e.seen.gate != cluster.NoGate {
		return false
	}
	booting := e.progress.Source == evacuate.SourceOn && e.s.Now().Sub(e.record.Since) < bootLeast
	begun := e.progress.Begun || e.progress.Unanswered > 0
	exposed := e.progress.Held+e.progress.Unanswered > 0
	return may && e.s.Refence && exposed && e.progress.Source.On() && (decided || !e.wasHeld && (booting || begun))
}

// refence has the host fenced again. That it is to be done is on record first, so that it
// is done once whoever dies meanwhile; one that fails may be tried again. The hook makes
// a new generation of it.
func (e *evacuation) refence(ctx context.Context) {
	decided := false
	err := e.update(ownership.SameGeneration, func(r record.Record) record.Record {
		e.mu.Lock()
		seen := e.seen.back
		e.mu.Unlock()
		next, may := r.Refencing(seen, e.s.Now())
		decided = may
		return next
	})
	if err == nil && decided {
		e.log.Warn("the host is on, and its instances have not left: it is fenced again")
		e.disconnect(ctx)
		err = e.s.Power.Off(context.WithoutCancel(ctx), e.node())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen.trouble = err
}

// disconnect has the cluster end its connection to the host. One that breaks counts as a
// failure of the host: the cluster would fence it once more, and where stonith-action is
// reboot have it on again (seen on Pacemaker 2.1.5).
func (e *evacuation) disconnect(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, disconnectTime)
	defer cancel()
	node := e.node()
	tick := time.NewTicker(disconnectEvery)
	defer tick.Stop()
	for {
		// Another supervisor may have let the cluster connect to it a moment ago.
		err := e.s.Power.KeepApart(ctx, node)
		if err == nil {
			view, err := e.s.Members.View(ctx)
			if n := view.Nodes[node]; err == nil && (!n.Remote || !n.Online) {
				return
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			e.log.Warn("the cluster does not end its connection to the host, and may power it on once more")
			return
		}
	}
}

// back names the hosts, by Nova's names, that were fenced and are on again.
func (s *Supervisor) back(services []nova.Service) map[string]bool {
	on, cloud := map[string]bool{}, s.cloud(services)
	for _, r := range s.known.all() {
		if r.Err != nil || r.Back == record.NotBack {
			continue
		}
		for _, service := range toldOf(cloud, r.Record) {
			on[service.Host] = true
		}
	}
	return on
}
