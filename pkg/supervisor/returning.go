package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/record"
)

const (
	// watchEvery is the pause between two looks at the hosts that are evacuated, or held.
	watchEvery = 5 * time.Second
	// turnTime is how long a supervisor leaves to each of those before it what they could do
	// as well: one alone may be cut off from Nova, and not know.
	turnTime = 30 * time.Second
	// upWait is how long a host that was forced up is given to be up in Nova's eyes.
	upWait = 2 * time.Minute
)

// watch is what a supervisor remembers of the hosts that nobody carries.
type watch struct {
	beats nova.Pulse
	// turn is how many supervisors that live come before this one.
	turn int
	// due is what there is to do for hosts.
	due map[string]due
	// apart is true where nodes may be kept apart from the cluster: nobody has looked yet,
	// or some were.
	apart bool
	// tried is when a host was last tried to be powered on.
	tried map[string]time.Time
}

type due struct {
	what        string
	since, seen time.Time
}

// ours answers whether something that is to be done for a host is up to this supervisor:
// to the first one at once, to the others if it is still not done when their turn comes.
func (w *watch) ours(host, what string, now time.Time) bool {
	d := w.due[host]
	if d.what != what || now.Sub(d.seen) > 3*watchEvery {
		d = due{what: what, since: now}
	}
	d.seen = now
	w.due[host] = d
	return now.Sub(d.since) >= time.Duration(w.turn)*turnTime
}

// comeback says what an evacuated host waits for before it can be let in, and nothing
// when it can be. evacuations are all evacuation records from or to it.
func comeback(r record.Record, service nova.Service, evacuations []nova.Migration, awake bool, view cluster.View) string {
	node, member := view.Nodes[r.NodeName()]
	switch {
	case service.Partial:
		return "the host's cell, which Nova says is down"
	case member && (!node.Online || node.Unclean || node.Pending):
		return fmt.Sprintf("the cluster to have %s online again", r.NodeName())
	case !awake:
		return "nova-compute to start on " + service.Host
	}
	// Nova takes the host for evacuated while one is there, and when nova-compute starts
	// it destroys the guest of each, be it one that has come back since.
	var short []string
	for _, m := range evacuations {
		if m.Source == service.Host && slices.Contains([]nova.Status{nova.StatusAccepted, nova.StatusPreMigrating, nova.StatusDone}, m.Status) {
			short = append(short, m.Instance)
		}
	}
	if len(short) == 0 {
		return ""
	}
	restart := fmt.Sprintf("nova-compute to be restarted on %s: %d evacuations were not over when it started, and only its start completes them in Nova", service.Host, len(short))
	if r.Back == record.BackRunning {
		// It ran while instances were sent, so that it may have started their guests before.
		return fmt.Sprintf("DANGER: guests of %s may run here and elsewhere; %s, and ends those guests", some(short), restart)
	}
	return restart
}

// some names a few instances.
func some(ids []string) string {
	const most = 3
	if len(ids) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(ids[:most], ", "), len(ids)-most)
	}
	return strings.Join(ids, ", ")
}

// watchHosts looks after the hosts that nobody carries: those that are evacuated are let
// in when it is safe, those that the guard holds go on when it has passed.
func (s *Supervisor) watchHosts(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	w, last := &watch{beats: nova.Pulse{}, due: map[string]due{}, apart: true, tried: map[string]time.Time{}}, ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		text := ""
		if err := s.lookAfter(ctx, w); err != nil && ctx.Err() == nil {
			if text = err.Error(); text != last {
				s.Log.Warnf("look after evacuated hosts: %v", err)
			}
		}
		last = text
	}
}

func (s *Supervisor) lookAfter(ctx context.Context, w *watch) error {
	s.mu.Lock()
	records := slices.Clone(s.records)
	s.mu.Unlock()
	if s.Only == nil {
		if err := s.expel(ctx); err != nil {
			return err
		}
	}
	look := s.Power != nil && s.Only == nil && (len(records) > 0 || w.apart)
	recorded := records
	records = slices.DeleteFunc(slices.Clone(records), func(r cib.Stored) bool {
		if s.Only != nil && (!s.Only(r.Host) || !r.Unfinished()) {
			return true // who works on some hosts only lets none in
		}
		return r.Err != nil || r.Unfinished() && (r.Hold != record.HeldByGuard || r.Owner != "")
	})
	if len(records) == 0 {
		clear(w.beats)
		clear(w.due)
		if !look {
			return nil
		}
	}
	view, err := s.Members.View(ctx)
	if err != nil {
		return err
	}
	if !view.Quorum {
		clear(w.beats)
		clear(w.due)
		return nil
	}
	if look {
		// What is in the way of one host's connection keeps no other one from being let in.
		if err := s.reconnect(ctx, recorded, w); err != nil {
			s.Log.Warnf("look after the connections to hosts that were fenced: %v", err)
		}
	}
	if len(records) == 0 {
		return nil
	}
	w.turn = s.turn(view)
	services, err := s.Nova.Services(ctx)
	if err != nil {
		return err
	}
	held := false
	for _, r := range records {
		if r.Unfinished() {
			held = true
			continue
		}
		if err := s.readmit(ctx, r, services, w, view); err != nil {
			return err
		}
	}
	if held {
		return s.judgeAgain(ctx, records, services, w, view)
	}
	return nil
}

// turn is how many supervisors that live have a name that comes before ours: one is enough
// to look after what nobody carries.
func (s *Supervisor) turn(view cluster.View) int {
	us, _ := record.OwnerNode(s.Owner)
	before := 0
	for name, runs := range view.Supervisors {
		if n := view.Nodes[name]; runs && name < us && n.Online && !n.Unclean && !n.Pending {
			before++
		}
	}
	return before
}

// readmit has a host let in if nothing stands against it, and else says what does.
func (s *Supervisor) readmit(ctx context.Context, r cib.Stored, services []nova.Service, look *watch, view cluster.View) error {
	if s.working(r.Host) {
		return nil
	}
	if r.Owner != "" {
		if gone, _ := s.ownerGone(r, view); !gone {
			return nil
		}
	}
	service, err := nova.FindService(services, r.Host, s.Domain)
	if err != nil {
		return s.say(ctx, r, "Nova to list the host again", look)
	}
	awake := look.beats.Feel(service, r.Since, s.Now()) == nova.Alive
	if _, member := view.Nodes[r.NodeName()]; !awake && member && r.Phase == record.Evacuated && r.Back == record.NotBack && s.Power != nil {
		return s.powerOn(ctx, r, service.Host, services, look, view)
	}
	var evacuations []nova.Migration
	if awake {
		if evacuations, err = s.Nova.Evacuations(ctx, service.Host, time.Time{}); err != nil {
			return err
		}
	}
	wait := comeback(r.Record, service, evacuations, awake, view)
	if wait == "" {
		if wait, err = s.sentTo(ctx, service.Host, services); err != nil {
			return err
		}
	}
	if wait == "" && s.ManualReturn {
		wait = "an operator's 'nova-evac admit " + r.Host + "': the host is ready"
	}
	switch {
	case wait == "" && !look.ours(r.Host, "", s.Now()):
		return nil
	case wait == "":
		w, err := s.claim(ctx, r, r.Returned(s.Owner, s.Now()))
		if w != nil {
			go w.runReturn()
		}
		return err
	case awake && r.Phase == record.Returning && r.Wait == wait:
		return nil
	case awake && !look.ours(r.Host, wait, s.Now()):
		return nil
	case awake:
		next := r.Returned("", s.Now())
		next.Wait = wait
		return s.change(ctx, r, next)
	case r.Skipped > 0:
		return nil // what was left, and why, is worth more than that
	}
	return s.say(ctx, r, wait, look)
}

// sentTo names an instance that another host's evacuation has sent to a host before that
// died, and that is not settled yet. Nova never ends such a one by itself, and while the
// host is forced down everybody knows that: it is sent elsewhere. Once the host is let in,
// nothing tells it from one that is being rebuilt there.
func (s *Supervisor) sentTo(ctx context.Context, host string, services []nova.Service) (string, error) {
	for _, other := range s.seen() {
		if other.Err != nil || !other.Unfinished() {
			continue
		}
		from, err := nova.FindService(services, other.Host, s.Domain)
		if err != nil {
			continue // nothing can have been sent from a host that Nova does not know
		}
		rebuilding, err := s.Nova.Rebuilding(ctx, from.Host)
		if err != nil {
			return "", err
		}
		if len(rebuilding) == 0 {
			continue
		}
		evacuations, err := s.Nova.Evacuations(ctx, from.Host, time.Time{})
		if err != nil {
			return "", err
		}
		for _, id := range rebuilding {
			hosts := map[string]bool{}
			undecided := false
			for _, m := range evacuations {
				if m.Instance == id && m.Open() {
					hosts[m.Dest] = true
					undecided = undecided || m.Dest == ""
				}
			}
			if undecided {
				chosen, err := s.Nova.Destinations(ctx, id)
				if err != nil && !errors.Is(err, nova.ErrNotFound) {
					return "", err
				}
				for _, name := range chosen {
					hosts[name] = true
				}
			}
			if hosts[host] {
				return fmt.Sprintf("instance %s of %s, which was sent here before the host died, to be sent elsewhere", id, other.Host), nil
			}
		}
	}
	return "", nil
}

// say writes what a record that nobody carries waits for.
func (s *Supervisor) say(ctx context.Context, r cib.Stored, wait string, look *watch) error {
	if r.Wait == wait && r.Owner == "" || !look.ours(r.Host, wait, s.Now()) {
		return nil
	}
	next := r.Record
	next.Wait, next.Owner, next.Updated = wait, "", s.Now()
	return s.change(ctx, r, next)
}

func (s *Supervisor) change(ctx context.Context, r cib.Stored, next record.Record) error {
	if _, err := s.Records.Replace(ctx, r, next); err != nil && !errors.Is(err, cib.ErrConflict) {
		return err
	}
	return nil
}

// runReturn lets the worker's host in, or says what became of that.
func (w *worker) runReturn() {
	defer close(w.ended)
	defer w.s.forget(w)
	defer w.cancel(nil)
	w.conclude(w.letIn())
}

// conclude gives the claim back where the host was not let in, and says why.
func (w *worker) conclude(err error) {
	if err == nil {
		return
	}
	if errors.Is(context.Cause(w.ctx), errLost) {
		w.log.Warn("stopped: the record has another owner now")
		return
	}
	w.log.Warnf("the host is not let in: %v", err)
	wait := err.Error()
	var refused *nova.Error
	if errors.As(err, &refused) {
		wait = refused.Message
	}
	if err := w.last(anyGeneration, func(r record.Record) record.Record {
		if r.Owner, r.Updated = "", w.s.Now(); !r.Unfinished() {
			r.Wait = wait
		}
		return r
	}); err != nil {
		w.log.Warnf("release the claim: %v", err)
	}
}

// letIn takes back what Nova was told of the host, and then its record. Each step is
// made on what Nova says at that moment, so that it can begin anywhere.
func (w *worker) letIn() error {
	service, err := w.service()
	if err != nil {
		return err
	}
	if service.ForcedDown {
		if err := w.forceUp(service); err != nil {
			return err
		}
	}
	if service, err = w.awaitService(upWait, "is not up", func(s nova.Service) bool { return s.Up }); err != nil {
		return err
	}
	if !service.Enabled && service.Ours() {
		if err := w.s.May(); err != nil {
			return err
		}
		if err := w.s.Nova.Enable(context.WithoutCancel(w.ctx), service); err != nil {
			return err
		}
		if _, err = w.awaitService(upWait, "is not enabled", func(s nova.Service) bool { return s.Enabled }); err != nil {
			return err
		}
	}
	if err := w.s.May(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastWrite)
	defer cancel()
	w.mu.Lock()
	mine := w.record
	w.leaving = true
	w.mu.Unlock()
	if err := w.s.Records.Delete(ctx, mine); err != nil {
		return err
	}
	if !service.Enabled && !service.Ours() {
		w.log.Infof("the host is back; it stays disabled, as an operator has it (%q)", service.DisabledReason)
	} else {
		w.log.Info("the host is back, and enabled")
	}
	return nil
}

// forceUp does not return while its request can be alive in the API: one that came late
// would undo what the host's next fencing tells Nova.
func (w *worker) forceUp(service nova.Service) error {
	if err := w.s.May(); err != nil {
		return err
	}
	w.log.Info("the host is on again, its evacuation records are completed: telling Nova that it is up")
	err := w.s.Nova.ForceUp(context.WithoutCancel(w.ctx), service)
	if !errors.Is(err, nova.ErrUnknownOutcome) {
		return err
	}
	timer := time.NewTimer(w.s.Policy.APITime)
	defer timer.Stop()
	<-timer.C
	return err
}

func (w *worker) service() (nova.Service, error) {
	services, err := w.s.Nova.Services(w.ctx)
	if err != nil {
		return nova.Service{}, err
	}
	return nova.FindService(services, w.host, w.s.Domain)
}

// awaitService waits for Nova to show the host's service as it should be.
func (w *worker) awaitService(limit time.Duration, not string, is func(nova.Service) bool) (nova.Service, error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for end := w.s.Now().Add(limit); ; {
		service, err := w.service()
		if err == nil && is(service) {
			return service, nil
		}
		if err != nil && !errors.Is(err, nova.ErrNotSent) && !errors.Is(err, nova.ErrAnswered) && !errors.Is(err, nova.ErrUnknownOutcome) {
			return service, err
		}
		if w.s.Now().After(end) {
			if err == nil {
				err = fmt.Errorf("its nova-compute %s %v after Nova was told so", not, limit)
			}
			return service, err
		}
		select {
		case <-w.ctx.Done():
			return service, context.Cause(w.ctx)
		case <-tick.C:
		}
	}
}
