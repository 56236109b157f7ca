package supervisor

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/heartbeat"
	"github.com/nova-evac/nova-evac/pkg/identity"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/ownership"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// watchEvery is the pause between two looks at the hosts that are evacuated, or held.
const watchEvery = 5 * time.Second

// watch looks after the hosts that nobody carries, and remembers what it saw of them.
type watch struct {
	s          *Supervisor
	heartbeats heartbeat.Watch
	turns      turns
	// apart is true where nodes may be kept apart from the cluster: nobody has looked yet,
	// or some were.
	apart bool
	// tried is when a host was last tried to be powered on.
	tried map[string]time.Time
	// unconnected is the trouble with the connections to hosts that were fenced.
	unconnected trouble
}

// look is what the cluster and Nova say at one look.
type look struct {
	view  cluster.View
	cloud identity.Cloud
}

// watchHosts looks after the hosts that nobody carries: those that are evacuated are let
// in when it is safe, those that the guard holds go on when it has passed.
func (s *Supervisor) watchHosts(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	w, last := &watch{s: s, heartbeats: heartbeat.Watch{}, turns: turns{due: map[string]due{}}, apart: true, tried: map[string]time.Time{}}, ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		text := ""
		if err := w.lookAfter(ctx); err != nil && ctx.Err() == nil {
			if text = err.Error(); text != last {
				s.Log.Warnf("look after evacuated hosts: %v", err)
			}
		}
		last = text
	}
}

// lookAfter looks once.
func (w *watch) lookAfter(ctx context.Context) error {
	recorded := w.s.known.all()
	if w.s.Only == nil {
		if err := w.s.deleteReappeared(ctx); err != nil {
			return err
		}
	}
	connections := w.s.Power != nil && w.s.Only == nil && (len(recorded) > 0 || w.apart)
	records := slices.DeleteFunc(slices.Clone(recorded), func(r cib.Stored) bool { return !w.concerns(r) })
	if len(records) == 0 {
		w.forget()
		if !connections {
			return nil
		}
	}
	view, err := w.s.Members.View(ctx)
	if err != nil {
		return err
	}
	if !view.Quorum {
		w.forget()
		return nil
	}
	if connections {
		// What is in the way of one host's connection keeps no other one from being let in.
		w.unconnected.took(w.reconnect(ctx, recorded), w.s.Log, "look after the connections to hosts that were fenced")
	}
	if len(records) == 0 {
		return nil
	}
	w.turns.before = supervisorsBefore(w.s.Owner, view)
	services, err := w.s.Nova.Services(ctx)
	if err != nil {
		return err
	}
	return w.lookAt(ctx, records, look{view, w.s.cloud(services)})
}

// concerns answers whether a record is of a host that nobody carries, and that this
// supervisor looks after.
func (w *watch) concerns(r cib.Stored) bool {
	switch {
	case r.Err != nil:
		return false
	case r.Unfinished():
		return (w.s.Only == nil || w.s.Only(r.Host)) && (r.Hold == record.HeldByGuard || r.Hold == record.HeldByName) && r.Owner == ""
	}
	return w.s.Only == nil // one that works on some hosts only lets none in
}

// forget forgets the signs of life that were seen, and what was to be done.
func (w *watch) forget() {
	clear(w.heartbeats)
	clear(w.turns.due)
}

// lookAt does for each host that nobody carries what is to be done.
func (w *watch) lookAt(ctx context.Context, records []cib.Stored, now look) error {
	doubles, err := w.mergeDoubles(ctx, now)
	if err != nil {
		return err
	}
	records = slices.DeleteFunc(records, func(r cib.Stored) bool { return doubles[r.Host] })
	for _, r := range records {
		switch {
		case r.Unfinished() && r.Hold == record.HeldByName:
			err = w.nameAgain(ctx, r, now)
		case !r.Unfinished():
			err = w.readmit(ctx, r, now)
		}
		var unanswered *nova.Error
		if errors.As(err, &unanswered) { // it concerns this host, and keeps no other one
			err = w.say(ctx, r, notTold{unanswered.Op, unanswered.Message})
		}
		if err != nil {
			return err
		}
	}
	if slices.ContainsFunc(records, func(r cib.Stored) bool { return r.Unfinished() && r.Hold == record.HeldByGuard }) {
		return w.guardAgain(ctx, records, now)
	}
	return nil
}

// readmit has a host powered on, or let in if nothing stands against it, and else says what
// does.
func (w *watch) readmit(ctx context.Context, r cib.Stored, now look) error {
	if w.s.claims.of(r.Host) != nil || w.s.judgeOwner(r, now.view).Action != ownership.TakeOver {
		return nil
	}
	m := now.cloud.Of(r.Record)
	if m.State != identity.One {
		return w.say(ctx, r, notListed{r.Host})
	}
	service := m.Service
	awake := w.heartbeats.Look(service, r.Since, w.s.Now()) == heartbeat.Alive
	if !awake && w.keptOff(r, now.view) {
		return w.powerOn(ctx, r, service.Host, now)
	}
	obstacle, err := w.returning(ctx, r, service, awake, now)
	switch {
	case err != nil:
		return err
	case obstacle == nil:
		return w.letIn(ctx, r)
	case awake:
		return w.sayReturning(ctx, r, obstacle)
	case r.Skipped > 0:
		return nil // the reason for what was left is worth more
	}
	return w.say(ctx, r, obstacle)
}

// keptOff answers whether a host is evacuated and off, and the cluster can power it on.
func (w *watch) keptOff(r cib.Stored, view cluster.View) bool {
	_, member := view.Nodes[r.NodeName()]
	return member && r.Phase == record.Evacuated && r.Back == record.NotBack && w.s.Power != nil
}

// admitted is the task of letting a host in.
type admitted struct{}

// letIn has a host let in.
func (w *watch) letIn(ctx context.Context, r cib.Stored) error {
	if !w.turns.mine(r.Host, admitted{}, w.s.Now()) {
		return nil
	}
	c, err := w.s.claim(ctx, r, r.Returned(w.s.Owner, w.s.Now()))
	if c != nil {
		go c.work(admission{c}.run)
	}
	return err
}

// returning gives what stands in the way of letting a host in.
func (w *watch) returning(ctx context.Context, r cib.Stored, service nova.Service, awake bool, now look) (obstacle, error) {
	var evacuations []nova.Migration
	if awake {
		var err error
		if evacuations, err = w.s.Nova.Evacuations(ctx, service.Host, time.Time{}); err != nil {
			return nil, err
		}
	}
	if o := notReady(r.Record, service, evacuations, awake, now.view); o != nil {
		return o, nil
	}
	sent, err := w.s.sentTo(ctx, service.Host, now.cloud)
	switch {
	case err != nil || sent != nil:
		return sent, err
	case w.s.ManualReturn:
		return admitByHand{r.Host}, nil
	}
	return nil, nil
}

// notReady gives what keeps an evacuated host itself from being let in. evacuations are all
// evacuation records from or to it.
func notReady(r record.Record, service nova.Service, evacuations []nova.Migration, awake bool, view cluster.View) obstacle {
	node, member := view.Nodes[r.NodeName()]
	switch {
	case service.Partial:
		return cellDown{}
	case member && !node.Live():
		return notMember{r.NodeName()}
	case !awake:
		return notStarted{service.Host}
	}
	// Nova takes the host for evacuated while one is there, and when nova-compute starts
	// it destroys the guest of each, be it one that has come back since.
	var open []string
	for _, m := range evacuations {
		if m.Source == service.Host && slices.Contains([]nova.Status{nova.StatusAccepted, nova.StatusPreMigrating, nova.StatusDone}, m.Status) {
			open = append(open, m.Instance)
		}
	}
	if len(open) == 0 {
		return nil
	}
	return openEvacuations(service.Host, r.Back, open)
}

// source is a host that is being evacuated.
type source struct {
	record cib.Stored
	host   string // Nova's name of it
}

// sources are the hosts that are being evacuated. Nothing can have been sent from one that
// Nova does not know.
func (s *Supervisor) sources(cloud identity.Cloud) []source {
	var all []source
	for _, r := range s.known.all() {
		if r.Err != nil || !r.Unfinished() {
			continue
		}
		for _, service := range toldOf(cloud, r.Record) {
			all = append(all, source{r, service.Host})
		}
	}
	return all
}

// sentTo names an instance that another host's evacuation has sent to a host before that
// died, and that is not settled yet. Nova never ends such a one by itself, and while the
// host is forced down everybody knows that: it is sent elsewhere. Once the host is let in,
// nothing tells it from one that is being rebuilt there.
func (s *Supervisor) sentTo(ctx context.Context, host string, cloud identity.Cloud) (obstacle, error) {
	for _, from := range s.sources(cloud) {
		rebuilding, err := s.Nova.Rebuilding(ctx, from.host)
		if err != nil {
			return nil, err
		}
		if len(rebuilding) == 0 {
			continue
		}
		evacuations, err := s.Nova.Evacuations(ctx, from.host, time.Time{})
		if err != nil {
			return nil, err
		}
		for _, id := range rebuilding {
			headed, err := s.headedFor(ctx, id, host, evacuations)
			if err != nil {
				return nil, err
			}
			if headed {
				return sentHere{id, from.record.Host}, nil
			}
		}
	}
	return nil, nil
}

// headedFor answers whether an evacuation of an instance that is under way has a host as
// its destination. One that no destination has taken yet has the one that the scheduler
// chose.
func (s *Supervisor) headedFor(ctx context.Context, id, host string, evacuations []nova.Migration) (bool, error) {
	headed, undecided := false, false
	for _, m := range evacuations {
		if m.Instance == id && m.Open() {
			headed, undecided = headed || m.Dest == host, undecided || m.Dest == ""
		}
	}
	if !undecided {
		return headed, nil
	}
	chosen, err := s.Nova.Destinations(ctx, id)
	if err != nil && !errors.Is(err, nova.ErrNotFound) {
		return false, err
	}
	return headed || slices.Contains(chosen, host), nil
}

// sayReturning writes what a host waits for whose nova-compute runs.
func (w *watch) sayReturning(ctx context.Context, r cib.Stored, o obstacle) error {
	wait := record.WaitFor(o.String())
	if r.Phase == record.Returning && r.Wait == wait || !w.turns.mine(r.Host, o, w.s.Now()) {
		return nil
	}
	next := r.Returned("", w.s.Now())
	next.Wait = wait
	return w.s.change(ctx, r, next)
}

// say writes what a record that nobody carries waits for.
func (w *watch) say(ctx context.Context, r cib.Stored, o obstacle) error {
	wait := record.WaitFor(o.String())
	if r.Wait == wait && r.Owner == "" || !w.turns.mine(r.Host, o, w.s.Now()) {
		return nil
	}
	next := r.Record
	next.Wait, next.Owner, next.Updated = wait, "", w.s.Now()
	return w.s.change(ctx, r, next)
}
