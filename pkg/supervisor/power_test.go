package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/novasim"
	"github.com/nova-evac/nova-evac/pkg/record"
	"github.com/nova-evac/nova-evac/pkg/supervisor"
)

// hand is a cluster's hand on the power of the simulated hosts. The hook stands in their
// fencing levels. Nothing in it is held across a sleep.
type hand struct {
	w *world

	mu      sync.Mutex
	takes   time.Duration // of each On and Off
	asking  time.Duration // what each Answer takes
	fails   error         // what each On and Off ends with
	compute string        // what becomes of nova-compute of a host that is powered on
	booting bool          // no host's pacemaker_remote runs
	gate    cluster.Gate  // on each host
	apart   map[string]bool
	leaving time.Duration // what the cluster takes to end a connection
	broken  int           // how often a host was fenced to which the cluster was connected
	tried   []time.Time   // when On or Off was begun
	ons     []string      // the hosts that were powered on
	offs    []string      // and those that were fenced
	during  int           // evacuations that Nova took while one was fenced
	changed int           // how often KeepApart or Rejoin was called
}

func (h *hand) set(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}

// begin is the time that a device takes, and what it ends with.
func (h *hand) begin() error {
	h.mu.Lock()
	h.tried = append(h.tried, time.Now())
	takes := h.takes
	h.mu.Unlock()
	time.Sleep(takes)
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fails
}

func (h *hand) On(_ context.Context, node string) error { return h.on(node, nil) }

func (h *hand) on(node string, p *process) error {
	if err := errors.Join(h.begin(), p.lives()); err != nil {
		return err
	}
	h.set(func() { h.ons = append(h.ons, node) })
	h.press(node)
	_, _, err := cib.NoteBack(context.Background(), h.w.records, node, time.Now())
	return err
}

func (h *hand) Off(_ context.Context, node string) error { return h.off(node, nil) }

func (h *hand) off(node string, p *process) error {
	before := h.w.accepted()
	if err := errors.Join(h.begin(), p.lives()); err != nil {
		return err
	}
	sent := h.w.accepted() - before
	view, _ := h.w.members.View(context.Background())
	h.set(func() {
		h.offs, h.during = append(h.offs, node), h.during+sent
		if view.Nodes[node].Online {
			h.broken++
		}
	})
	return h.cut(node)
}

// press powers a host on as its button does: nobody notes it.
func (h *hand) press(node string) {
	h.mu.Lock()
	compute := h.compute
	h.mu.Unlock()
	h.w.must(h.w.cloud.ChangeHost(node, novasim.HostChange{Power: "on", Compute: compute}))
}

// cut is a host's fencing: it loses its power, the hook notes it and keeps it apart.
func (h *hand) cut(node string) error {
	h.w.must(h.w.cloud.ChangeHost(node, novasim.HostChange{Power: "off"}))
	if _, _, err := cib.NoteFenced(context.Background(), h.w.records, node, "", time.Now()); err != nil {
		return err
	}
	return h.KeepApart(context.Background(), node)
}

func (h *hand) Answer(_ context.Context, node string) (cluster.Answer, error) {
	h.mu.Lock()
	asking := h.asking
	h.mu.Unlock()
	time.Sleep(asking)
	for _, host := range h.w.cloud.State().Hosts {
		if host.Name == node && host.Power == "on" {
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.booting {
				return cluster.Answers, nil
			}
			return cluster.Connectable, nil
		}
	}
	return cluster.NoAnswer, nil
}

func (h *hand) Gate(context.Context, string) (cluster.Gate, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.gate, nil
}

func (h *hand) KeepApart(_ context.Context, node string) error {
	h.set(func() { h.apart[node] = true; h.changed++ })
	end := func() {
		if nodes, _ := h.Apart(context.Background()); slices.Contains(nodes, node) {
			h.w.members.set(func(v *cluster.View) { v.Nodes[node] = cluster.Node{Remote: true} })
		}
	}
	if h.leaving == 0 {
		end()
		return nil
	}
	time.AfterFunc(h.leaving, end)
	return nil
}

func (h *hand) Rejoin(_ context.Context, node string) error {
	h.set(func() { delete(h.apart, node); h.changed++ })
	h.w.members.set(func(v *cluster.View) { v.Nodes[node] = cluster.Node{Remote: true, Online: true} })
	return nil
}

func (h *hand) Apart(context.Context) ([]string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Keys(h.apart)), nil
}

// seen is how often hosts were powered on and fenced, and what changed of who is apart.
func (h *hand) seen() (ons, offs []string, changed int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.ons), slices.Clone(h.offs), h.changed
}

// times are those of the calls of On and Off.
func (h *hand) times() []time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.tried)
}

// mortalPower is a process's hand: what it does when it is dead reaches nobody.
type mortalPower struct {
	*hand
	p *process
}

func (m mortalPower) On(_ context.Context, node string) error  { return m.on(node, m.p) }
func (m mortalPower) Off(_ context.Context, node string) error { return m.off(node, m.p) }

func (m mortalPower) KeepApart(ctx context.Context, node string) error {
	if err := m.p.alive(); err != nil {
		return err
	}
	return m.hand.KeepApart(ctx, node)
}

func (m mortalPower) Rejoin(ctx context.Context, node string) error {
	if err := m.p.alive(); err != nil {
		return err
	}
	return m.hand.Rejoin(ctx, node)
}

// lives is alive; whoever is no process lives always.
func (p *process) lives() error {
	if p == nil {
		return nil
	}
	return p.alive()
}

// powered is simulate with a hand on the hosts' power. The hosts are remote nodes.
func powered(t *testing.T, n int, test func(w *world, h *hand)) {
	t.Helper()
	simulate(t, n, func(w *world) {
		w.hand = &hand{w: w, takes: 2 * time.Second, apart: map[string]bool{}}
		w.refence = true
		w.members.set(func(v *cluster.View) {
			for _, host := range []string{"compute-1", "compute-2", "compute-3"} {
				v.Nodes[host] = cluster.Node{Remote: true, Online: true}
			}
		})
		test(w, w.hand)
	})
}

// backOn is the hook's on, called for a host that somebody powered on.
func (w *world) backOn() {
	w.Helper()
	w.hand.press("compute-1")
	_, _, err := cib.NoteBack(w.Context(), w.records, "compute-1", time.Now())
	w.must(err)
}

// arrived waits for the end, in whatever generation, and has the cloud say that no harm
// was done and all run.
func (w *world) arrived(n int) record.Record {
	w.Helper()
	r := w.until("over", func(r record.Record) bool { return r.Phase != "" && !r.Unfinished() })
	w.unharmed(n)
	if report := w.cloud.Report(); report.OnHost["compute-1"] != 0 {
		w.Errorf("%d are on compute-1 still", report.OnHost["compute-1"])
	}
	return r
}

func (w *world) unharmed(running int) {
	w.Helper()
	report := w.cloud.Report()
	for _, b := range report.Breaches {
		w.Errorf("%s: %s: %s", b.Kind, b.Instance, b.What)
	}
	if report.Running != running || report.MostAccepted > 1 {
		w.Errorf("%d of %d run, %d were accepted for one", report.Running, running, report.MostAccepted)
	}
}

// fencedAgain has it that compute-1 was fenced again so many times.
func (w *world) fencedAgain(times int) {
	w.Helper()
	w.hand.mu.Lock()
	defer w.hand.mu.Unlock()
	if len(w.hand.offs) != times {
		w.Errorf("fenced again %d times, expected %d; %d tries", len(w.hand.offs), times, len(w.hand.tried))
	}
	if w.hand.during != 0 {
		w.Errorf("%d evacuations were sent while the host was on, and being fenced", w.hand.during)
	}
}

// poweredOn has it that compute-1 was powered on so many times.
func (w *world) poweredOn(times int) {
	w.Helper()
	if ons, _, _ := w.hand.seen(); len(ons) != times {
		w.Errorf("powered on: %v, expected %d times", ons, times)
	}
}

// waits waits for the record to say what it waits for.
func (w *world) waits(what string) record.Record {
	w.Helper()
	return w.until("waiting for: "+what, func(r record.Record) bool { return strings.Contains(r.Wait.String(), what) })
}

// held waits for the host to be held because it is on.
func (w *world) held() record.Record {
	w.Helper()
	r := w.until("held", func(r record.Record) bool {
		return r.Hold == record.HeldBySource && strings.Contains(r.Wait.String(), "may run there")
	})
	if !strings.HasPrefix(r.Wait.String(), "DANGER: ") || !strings.Contains(r.Wait.String(), "nova-evac admit compute-1") {
		w.Errorf("it does not say what is the matter: %s", r.Wait)
	}
	return r
}

// ---- kept off, and powered on

func TestAHostThatIsKeptOffIsPoweredOnAndLetIn(t *testing.T) {
	powered(t, 5, func(w *world, h *hand) {
		for _, node := range []string{"ctl1", "ctl2", "ctl3"} {
			w.start(node)
		}
		h.set(func() { h.booting, h.compute = true, "held" })
		w.must(h.cut("compute-1"))
		w.evacuated(5)
		w.waits("the cluster to connect to compute-1, which was powered on")
		w.waits("the cluster to have compute-1 online again")
		time.Sleep(10 * time.Minute)
		if apart, _ := h.Apart(w.Context()); len(apart) != 1 {
			w.Errorf("apart: %v; its pacemaker_remote takes no connections yet", apart)
		}
		h.set(func() { h.booting = false })
		w.waits("nova-compute to start on compute-1")
		w.must(w.cloud.ChangeHost("compute-1", novasim.HostChange{Compute: "start"}))
		w.letIn()
		if s := w.service(); !s.Up || !s.Enabled {
			w.Errorf("%+v", s)
		}
		w.poweredOn(1)
		w.fencedAgain(0)
		if tries := len(h.times()); tries != 1 {
			w.Errorf("%d tries", tries)
		}
	})
}

func TestAHostStaysOffWhereAnOperatorIsToPowerItOn(t *testing.T) {
	powered(t, 5, func(w *world, h *hand) {
		w.keepOff = true
		w.start("ctl1")
		w.must(h.cut("compute-1"))
		w.evacuated(5)
		w.waits("an operator to power compute-1 on: power_on=never")
		time.Sleep(time.Hour)
		if r := w.record(); r.Phase != record.Evacuated || len(h.times()) > 0 {
			w.Errorf("%s", r.Encode())
		}
		h.press("compute-1")
		w.letIn()
		w.poweredOn(0)
	})
}

func TestNothingIsPoweredOnInMaintenanceMode(t *testing.T) {
	powered(t, 12, func(w *world, h *hand) {
		w.start("ctl1")
		w.must(h.cut("compute-1"))
		w.owned()
		w.members.set(func(v *cluster.View) { v.Maintenance = true })
		w.evacuated(12)
		w.waits("the cluster to leave its maintenance mode, for the host to be powered on")
		time.Sleep(time.Hour)
		if n := len(h.times()); n > 0 {
			w.Errorf("powered on %d times", n)
		}
		w.members.set(func(v *cluster.View) { v.Maintenance = false })
		w.letIn()
		w.poweredOn(1)
	})
}

func TestAPowerOnThatFailsIsNamedAndTriedAgain(t *testing.T) {
	powered(t, 5, func(w *world, h *hand) {
		h.set(func() { h.fails = errors.New("the BMC does not answer") })
		w.start("ctl1")
		w.must(h.cut("compute-1"))
		w.evacuated(5)
		r := w.waits("the host to be powered on, which failed: the BMC does not answer")
		if r.Phase != record.Evacuated || r.Owner != "" || r.Back != record.NotBack {
			w.Errorf("%s", r.Encode())
		}
		time.Sleep(5 * time.Minute)
		h.set(func() { h.fails = nil })
		w.letIn()
		w.poweredOn(1)
		tries := h.times()
		if len(tries) < 5 {
			w.Errorf("%d tries", len(tries))
		}
		for n := range len(tries) - 1 {
			if pause := tries[n+1].Sub(tries[n]); pause < 30*time.Second {
				w.Errorf("tried again after %v", pause)
			}
		}
	})
}

func TestWhenItsOwnerDiesAnotherOnePowersTheHostOn(t *testing.T) {
	powered(t, 5, func(w *world, h *hand) {
		h.set(func() { h.takes = 20 * time.Second })
		w.start("ctl1")
		w.must(h.cut("compute-1"))
		w.evacuated(5)
		w.until("being powered on", func(r record.Record) bool { return r.Phase == record.Evacuated && r.Owner == "ctl1" })
		time.Sleep(5 * time.Second)
		w.start("ctl2")
		w.dies("ctl1")
		w.letIn()
		w.poweredOn(1)
		if tries := len(h.times()); tries != 2 {
			w.Errorf("%d tries", tries)
		}
	})
}

func TestAHostIsPoweredOnWhenWhatWasSentToItHasLeft(t *testing.T) {
	powered(t, 1, func(w *world, h *hand) {
		hang, goOn := true, false
		w.must(w.cloud.ChangeHost("compute-3", novasim.HostChange{Hang: &hang}))
		w.must(w.cloud.ChangeHost("compute-2", novasim.HostChange{Power: "off"})) // and nobody has noticed
		w.must(h.cut("compute-1"))
		w.start("ctl1")
		for range 100 {
			if time.Sleep(100 * time.Millisecond); w.accepted() > 0 {
				break
			}
		}
		time.Sleep(time.Second)
		w.must(h.cut("compute-2"))
		other := func() record.Record {
			all, err := w.records.Query(w.Context())
			w.must(err)
			r, _ := cib.Find(all, "compute-2")
			return r.Record
		}
		time.Sleep(10 * time.Minute)
		ons, _, _ := h.seen()
		if r := other(); len(ons) != 0 || r.Phase != record.Evacuated ||
			!strings.Contains(r.Wait.String(), "to leave compute-1 before this host is powered on") || !strings.Contains(r.Wait.String(), "instance vm-1 ") {
			w.Errorf("%s; powered on: %v", r.Encode(), ons)
		}
		w.must(w.cloud.ChangeHost("compute-3", novasim.HostChange{Hang: &goOn}))
		w.letIn()
		if ons, _, _ := h.seen(); !slices.Contains(ons, "compute-2") || len(ons) != 2 {
			w.Errorf("powered on: %v", ons)
		}
	})
}

func TestAHostThatIsKeptOffIsPoweredOnToBeAdmitted(t *testing.T) {
	powered(t, 5, func(w *world, h *hand) {
		w.keepOff = true
		w.start("ctl1")
		w.must(h.cut("compute-1"))
		w.evacuated(5)
		w.waits("power_on=never")
		w.must(w.operator().Admit(w.Context(), "compute-1"))
		w.letIn()
		w.poweredOn(1)
		if s := w.service(); s.ForcedDown || !s.Enabled {
			w.Errorf("%+v", s)
		}
	})
}

func TestAHostThatIsAdmittedBeforeItsNovaComputeHasStartedComesByItself(t *testing.T) {
	powered(t, 5, func(w *world, h *hand) {
		w.keepOff, h.compute = true, "held"
		w.start("ctl1")
		w.must(h.cut("compute-1"))
		w.evacuated(5)
		w.waits("power_on=never")
		if err := w.operator().Admit(w.Context(), "compute-1"); !errors.Is(err, nova.ErrRefused) {
			w.Errorf("its evacuations are not completed yet: %v", err)
		}
		w.poweredOn(1)
		w.waits("nova-compute to start on compute-1")
		w.must(w.cloud.ChangeHost("compute-1", novasim.HostChange{Compute: "start"}))
		w.letIn()
	})
}

func TestAHostThatIsAdmittedWhileItIsPoweredOnLeavesNoRecord(t *testing.T) {
	powered(t, 5, func(w *world, h *hand) {
		h.set(func() { h.takes = 10 * time.Second })
		w.start("ctl1")
		w.must(h.cut("compute-1"))
		w.evacuated(5)
		admitted := make(chan error, 1)
		go func() { admitted <- w.operator().Admit(w.Context(), "compute-1") }()
		w.until("claimed, to be powered on", func(r record.Record) bool { return r.Owner == "ctl1" })
		w.must(<-admitted)
		for range 600 {
			if r := w.record(); r.Host != "" {
				w.Fatalf("the record is there again: %s", r.Encode())
			}
			time.Sleep(100 * time.Millisecond)
		}
		if s := w.service(); !s.Up || !s.Enabled || s.ForcedDown {
			w.Errorf("%+v", s)
		}
	})
}

// ---- on again before its instances have left

func TestAHostThatIsOnBeforeItsInstancesHaveLeftIsFencedAgainOnce(t *testing.T) {
	for name, on := range map[string]func(w *world){
		"it was powered on through its fencing level":   func(w *world) { w.backOn() },
		"its button was pressed, and nobody noted that": func(w *world) { w.hand.press("compute-1") },
		"it boots, and its kernel answers":              func(w *world) { w.hand.set(func() { w.hand.booting = true }); w.hand.press("compute-1") },
		"it is a full member that is online, and has no address": func(w *world) {
			w.members.set(func(v *cluster.View) { v.Nodes["compute-1"] = cluster.Node{Online: true} })
		},
	} {
		t.Run(name, func(t *testing.T) {
			powered(t, 20, func(w *world, h *hand) {
				h.compute = "held"
				for _, node := range []string{"ctl1", "ctl2", "ctl3"} {
					w.start(node)
				}
				w.must(h.cut("compute-1"))
				w.owned()
				h.set(func() { h.takes = 30 * time.Second })
				before := w.accepted()
				on(w)
				r := w.until("to be fenced again", func(r record.Record) bool { return r.Refenced == 1 })
				if r.Back != record.BackOn || r.Gen != 1 {
					w.Errorf("%s", r.Encode())
				}
				if sent := w.accepted() - before; sent > 4 {
					w.Errorf("%d were sent before it was noticed", sent)
				}
				r = w.arrived(20)
				if r.Gen != 2 || r.Refenced != 1 || r.Back != record.NotBack || r.Hold != "" {
					w.Errorf("%s", r.Encode())
				}
				w.fencedAgain(1)
			})
		})
	}
}

func TestAHostIsFencedAgainWhenTheClusterHasEndedItsConnection(t *testing.T) {
	for _, c := range []struct {
		name    string
		leaving time.Duration
		broken  int
	}{
		{"it does so in time", 4 * time.Second, 0},
		{"it does not", time.Hour, 1}, // the host is fenced all the same
	} {
		t.Run(c.name, func(t *testing.T) {
			powered(t, 5, func(w *world, h *hand) {
				h.set(func() { h.leaving = c.leaving })
				w.fence()
				w.backOn()
				for _, node := range []string{"ctl1", "ctl2", "ctl3"} {
					w.start(node)
				}
				w.arrived(5)
				w.fencedAgain(1)
				h.mu.Lock()
				defer h.mu.Unlock()
				if h.broken != c.broken {
					t.Errorf("%d connections broke, expected %d", h.broken, c.broken)
				}
			})
		})
	}
}

// A request that has no answer may take effect when the host has booted.
func TestAHostThatIsOnIsFencedAgainWhereARequestIsUnanswered(t *testing.T) {
	powered(t, 3, func(w *world, h *hand) {
		h.set(func() { h.compute = "held" })
		p := w.start("ctl1")
		p.delay(50 * time.Second)
		w.fence()
		w.until("all sent", func(r record.Record) bool { return strings.Contains(r.Wait.String(), "3 sent") })
		w.backOn()
		w.until("fenced again", func(r record.Record) bool { return r.Gen == 2 })
		w.arrived(3)
		w.fencedAgain(1)
	})
}

func TestTheClusterIsKeptFromAHostThatMayBeFencedAgain(t *testing.T) {
	powered(t, 5, func(w *world, h *hand) {
		h.set(func() { h.takes = 20 * time.Second })
		w.must(h.cut("compute-1"))
		w.backOn()
		for _, node := range []string{"ctl1", "ctl2", "ctl3"} {
			w.start(node)
		}
		_, _, before := h.seen()
		w.until("fenced again", func(r record.Record) bool { return r.Gen == 2 })
		if _, _, after := h.seen(); len(h.apart) != 1 || after > before+2 { // by its owner, and by the hook
			w.Errorf("apart: %v, changed %d times", h.apart, after-before)
		}
		w.arrived(5)
	})
}

func TestAHostThatIsOnIsHeldWhereNothingIsFencedAgain(t *testing.T) {
	powered(t, 20, func(w *world, h *hand) {
		w.refence, h.compute = false, "held"
		p := w.start("ctl1")
		w.must(h.cut("compute-1"))
		w.owned()
		w.backOn()
		r := w.held()
		if r.Owner != "ctl1" || r.Phase != record.Evacuating || r.Refenced != 0 || r.Back != record.BackOn {
			w.Errorf("what was sent has to be followed: %s", r.Encode())
		}
		time.Sleep(time.Minute)
		sent := w.accepted()
		time.Sleep(time.Hour)
		if now := w.accepted(); now != sent || now == 20 {
			w.Errorf("%d, later %d of 20 were sent", sent, now)
		}
		status := p.Status()
		if len(status) != 1 || status[0].Phase != "held" || status[0].Power != "on" || !strings.Contains(status[0].WaitingFor, "DANGER") {
			w.Errorf("%+v", status)
		}
		w.must(w.operator().Resume(w.Context(), "compute-1"))
		r = w.arrived(20)
		if r.Phase != record.Returning || r.Gen != 1 {
			w.Errorf("%s", r.Encode())
		}
		w.fencedAgain(0)
	})
}

func TestAHostIsNotFencedAThirdTime(t *testing.T) {
	powered(t, 30, func(w *world, h *hand) {
		h.compute = "held"
		w.start("ctl1")
		w.must(h.cut("compute-1"))
		w.owned()
		w.backOn()
		w.until("fenced again, and some done", func(r record.Record) bool { return r.Gen == 2 && r.Done > 2 })
		w.backOn()
		r := w.held()
		if r.Gen != 2 || r.Refenced != 1 {
			w.Errorf("%s", r.Encode())
		}
		time.Sleep(time.Hour)
		w.fencedAgain(1)
		if r := w.record(); r.Gen != 2 || r.Hold != record.HeldBySource {
			w.Errorf("%s", r.Encode())
		}
		// It is an operator who has it fenced once more.
		w.must(h.cut("compute-1"))
		if r := w.arrived(30); r.Gen != 3 {
			w.Errorf("%s", r.Encode())
		}
	})
}

func TestAFencingThatFailsIsNamedAndTriedAgain(t *testing.T) {
	powered(t, 20, func(w *world, h *hand) {
		h.compute = "held"
		w.start("ctl1")
		w.must(h.cut("compute-1"))
		w.owned()
		h.set(func() { h.fails = errors.New("the BMC does not answer") })
		w.backOn()
		w.waits("fencing it again failed: the BMC does not answer")
		time.Sleep(5 * time.Minute)
		w.fencedAgain(0)
		h.set(func() { h.fails = nil })
		if r := w.arrived(20); r.Gen != 2 || r.Refenced != 1 || strings.Contains(r.Wait.String(), "failed") {
			w.Errorf("%s", r.Encode())
		}
		w.fencedAgain(1)
		tries := h.times()
		if len(tries) < 5 {
			w.Errorf("%d tries", len(tries))
		}
		for n := range len(tries) - 1 {
			if pause := tries[n+1].Sub(tries[n]); pause < 30*time.Second && n < len(tries)-2 {
				w.Errorf("tried again after %v", pause)
			}
		}
	})
}

func TestWhenItsOwnerDiesWhileItIsFencedAgainAnotherOneHasItDone(t *testing.T) {
	powered(t, 20, func(w *world, h *hand) {
		h.set(func() { h.takes, h.compute = 20*time.Second, "held" })
		w.start("ctl1")
		w.must(h.cut("compute-1"))
		w.owned()
		w.backOn()
		w.until("to be fenced again", func(r record.Record) bool { return r.Refenced == 1 })
		time.Sleep(5 * time.Second)
		w.start("ctl2")
		w.dies("ctl1")
		if r := w.arrived(20); r.Gen != 2 || r.Refenced != 1 {
			w.Errorf("%s", r.Encode())
		}
		w.fencedAgain(1)
	})
}

func TestAGateThatHoldsLetsTheEvacuationGoOn(t *testing.T) {
	// The look at the gate and the look at Nova are not one: whichever comes first.
	for step := range 10 {
		after := time.Duration(step) * 100 * time.Millisecond
		t.Run(fmt.Sprintf("%v later", after), func(t *testing.T) {
			powered(t, 20, func(w *world, h *hand) {
				h.set(func() { h.compute, h.gate, h.asking = "held", cluster.GateHolds, 100*time.Millisecond })
				w.start("ctl1")
				w.must(h.cut("compute-1"))
				w.owned()
				time.Sleep(after)
				w.backOn()
				if r := w.arrived(20); r.Gen != 1 || r.Refenced != 0 || r.Hold != "" || r.Phase != record.Returning {
					w.Errorf("%s", r.Encode())
				}
				w.fencedAgain(0)
			})
		})
	}
}

func TestAGateThatWasHeardOnceIsWaitedFor(t *testing.T) {
	for name, c := range map[string]struct {
		becomes cluster.Gate
		gen     int
		fenced  int
	}{
		"it speaks again":            {cluster.GateHolds, 1, 0},
		"it was one that is no more": {cluster.NoGate, 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			powered(t, 20, func(w *world, h *hand) {
				h.set(func() { h.compute, h.gate = "held", cluster.GateHeard })
				w.start("ctl1")
				w.must(h.cut("compute-1"))
				w.owned()
				w.backOn()
				time.Sleep(2 * time.Second)
				sent := w.accepted()
				time.Sleep(10 * time.Second)
				r := w.waits("it to be known whether compute-1 is off")
				if now := w.accepted(); now != sent || r.Hold != "" {
					w.Errorf("%d were sent: %s", now-sent, r.Encode())
				}
				w.fencedAgain(0)
				h.set(func() { h.gate = c.becomes })
				if r := w.arrived(20); r.Gen != c.gen {
					w.Errorf("%s", r.Encode())
				}
				w.fencedAgain(c.fenced)
			})
		})
	}
}

func TestAHostOfWhichNothingWasSentIsFencedAgainOnlyBeforeItHasBooted(t *testing.T) {
	for name, c := range map[string]struct {
		after time.Duration // the fencing
		again bool
	}{
		"it has just been fenced":      {5 * time.Second, true},
		"it was fenced a while before": {time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			powered(t, 5, func(w *world, h *hand) {
				h.compute = "held"
				w.must(h.cut("compute-1"))
				time.Sleep(c.after)
				h.press("compute-1")
				w.start("ctl1")
				if c.again {
					w.arrived(5)
					w.fencedAgain(1)
					return
				}
				w.held()
				time.Sleep(time.Hour)
				w.fencedAgain(0)
				if w.accepted() > 0 {
					w.Errorf("%d were sent", w.accepted())
				}
			})
		})
	}
}

// ---- what is left to an operator

// runsUnseen has compute-1 fenced, and back with all its guests while no supervisor runs.
func (w *world) runsUnseen() {
	w.Helper()
	resume := true
	w.must(w.hand.cut("compute-1"))
	service, r := w.service(), w.record()
	w.must(novasim.Direct{Cloud: w.cloud}.ForceDown(w.Context(), service, r.Witness().Reason())) // as the hook does
	time.Sleep(time.Minute)
	w.must(w.cloud.ChangeHost("compute-1", novasim.HostChange{ResumeGuests: &resume, Power: "on"}))
	time.Sleep(2 * time.Minute)
}

func TestAHostThatRunsWhatItHasIsLeftToAnOperator(t *testing.T) {
	powered(t, 5, func(w *world, h *hand) {
		w.runsUnseen()
		w.start("ctl1")
		w.until("seen to run", func(r record.Record) bool { return r.Back == record.BackRunning })
		r := w.held()
		if !strings.Contains(r.Wait.String(), "nova-compute of compute-1 runs") {
			w.Errorf("%s", r.Encode())
		}
		time.Sleep(time.Hour)
		w.fencedAgain(0)
		if w.accepted() > 0 || len(h.times()) > 0 {
			w.Errorf("%d were sent, %d tries to change its power", w.accepted(), len(h.times()))
		}
		w.must(w.operator().Admit(w.Context(), "compute-1"))
		w.letIn()
		time.Sleep(time.Minute)
		w.unharmed(5)
		if s := w.service(); !s.Up || !s.Enabled || w.cloud.Report().OnHost["compute-1"] != 5 {
			w.Errorf("%+v, %+v", s, w.cloud.Report())
		}
	})
}

func TestAHostThatCameOnWhileTheGuardHeldItIsLeftToAnOperator(t *testing.T) {
	for name, on := range map[string]func(w *world){
		"it was powered on through its fencing level":   func(w *world) { w.backOn() },
		"its button was pressed, and nobody noted that": func(w *world) { w.hand.press("compute-1") },
	} {
		t.Run(name, func(t *testing.T) {
			powered(t, 5, func(w *world, h *hand) {
				h.compute = "held"
				w.guard = supervisor.Guard{Share: 50}
				w.members.set(func(v *cluster.View) { v.Nodes["compute-2"] = cluster.Node{Remote: true, Unclean: true} })
				w.start("ctl1")
				w.must(h.cut("compute-1"))
				w.until("held by the guard", func(r record.Record) bool { return r.Hold == record.HeldByGuard && r.Owner == "" })
				on(w)
				w.until("back", func(r record.Record) bool { return r.Back == record.BackOn })
				w.members.set(func(v *cluster.View) { v.Nodes["compute-2"] = cluster.Node{Remote: true, Online: true} })
				w.held()
				time.Sleep(time.Hour)
				w.fencedAgain(0)
				if w.accepted() > 0 || w.record().Hold != record.HeldBySource {
					w.Errorf("%d were sent: %s", w.accepted(), w.record().Encode())
				}
				w.must(w.operator().Resume(w.Context(), "compute-1"))
				w.arrived(5)
			})
		})
	}
}

func TestAHostOfWhichNovaWasNeverToldIsNotForcedDown(t *testing.T) {
	for _, c := range []struct {
		name     string
		states   []string
		ofItself bool
	}{
		{"nothing was on it", nil, true},
		{"what is on it was stopped", []string{"stopped", "stopped"}, true},
		{"some of it ran", []string{"stopped", "active"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			powered(t, 0, func(w *world, h *hand) {
				for _, state := range c.states {
					_, err := w.cloud.AddInstances(novasim.Batch{Host: "compute-1", VMState: state})
					w.must(err)
				}
				w.must(h.cut("compute-1"))
				time.Sleep(time.Minute)
				h.press("compute-1")
				time.Sleep(2 * time.Minute)
				w.start("ctl1")
				if !c.ofItself {
					r := w.waits("an operator: compute-1 is up, and nobody has it forced down; Nova has 2 instances there: see that they run (vm-2), then 'nova-evac admit compute-1'")
					if r.Refenced != 0 {
						w.Errorf("%s", r.Encode())
					}
					time.Sleep(time.Hour)
					if r = w.record(); r.Gen != 1 || !r.Unfinished() {
						w.Errorf("%s", r.Encode())
					}
					w.must(w.operator().Admit(w.Context(), "compute-1"))
				}
				w.letIn()
				if s := w.service(); !s.Up || !s.Enabled || s.ForcedDown || s.DisabledReason != "" || w.accepted() > 0 {
					w.Errorf("%+v, %d were sent", s, w.accepted())
				}
				w.fencedAgain(0)
			})
		})
	}
}

func TestTheReturnOfAHostThatRanMeanwhileNamesWhatMayRunTwice(t *testing.T) {
	powered(t, 4, func(w *world, h *hand) {
		for _, host := range []string{"compute-2", "compute-3"} {
			w.must(w.cloud.ChangeHost(host, novasim.HostChange{RebuildTime: "3m"}))
		}
		w.start("ctl1")
		w.must(h.cut("compute-1"))
		for range 100 {
			if time.Sleep(100 * time.Millisecond); w.accepted() == 4 {
				break
			}
		}
		h.press("compute-1")
		w.until("seen to run", func(r record.Record) bool { return r.Back == record.BackRunning && r.Unfinished() })
		r := w.waits("DANGER: guests of ")
		if r.Phase != record.Returning || !strings.Contains(r.Wait.String(), "and 1 more may run here and elsewhere; nova-compute to be restarted on compute-1: 4 evacuations were not over") {
			w.Errorf("%s", r.Encode())
		}
		named := 0
		for _, i := range w.cloud.State().Instances {
			if strings.Contains(r.Wait.String(), i.ID) {
				named++
			}
		}
		if named != 3 {
			w.Errorf("%d instances are named: %s", named, r.Wait)
		}
		w.fencedAgain(0)
		w.must(w.cloud.ChangeHost("compute-1", novasim.HostChange{Compute: "kill"}))
		w.must(w.cloud.ChangeHost("compute-1", novasim.HostChange{Compute: "start"}))
		w.letIn()
	})
}

// ---- the cluster's connection

func TestANodeThatIsKeptApartIsLetInToTheClusterWhenItCanBe(t *testing.T) {
	for name, before := range map[string]func(w *world){
		"there is no record of it any more": func(w *world) {
			w.start("ctl1")
			w.must(w.hand.cut("compute-1"))
			w.evacuated(5)
			w.must(w.operator().Forget(w.Context(), "compute-1"))
		},
		"the supervisor has just started": func(w *world) {
			w.must(w.hand.KeepApart(w.Context(), "compute-1"))
			w.must(w.cloud.ChangeHost("compute-1", novasim.HostChange{Power: "off"}))
			w.start("ctl1")
		},
	} {
		t.Run(name, func(t *testing.T) {
			powered(t, 5, func(w *world, h *hand) {
				w.keepOff = true
				before(w)
				apart := func() int {
					nodes, err := h.Apart(w.Context())
					w.must(err)
					return len(nodes)
				}
				time.Sleep(time.Hour)
				h.set(func() { h.booting = true })
				h.press("compute-1")
				time.Sleep(time.Minute)
				if apart() != 1 {
					w.Error("it was let in before its pacemaker_remote answered")
				}
				h.set(func() { h.booting = false })
				time.Sleep(10 * time.Second)
				if apart() != 0 {
					w.Error("it is kept apart still")
				}
				w.fencedAgain(0)
				w.poweredOn(0)
			})
		})
	}
}

func TestAHostThatTheHookDidNotKeepApartIsKeptApart(t *testing.T) {
	powered(t, 5, func(w *world, h *hand) {
		w.keepOff = true
		w.start("ctl1")
		w.fence() // the hook has not come to it
		time.Sleep(10 * time.Second)
		if apart, _ := h.Apart(w.Context()); !slices.Equal(apart, []string{"compute-1"}) {
			w.Errorf("apart: %v", apart)
		}
		w.evacuated(5)
		time.Sleep(time.Hour)
		if _, _, changed := h.seen(); changed != 1 {
			w.Errorf("it was done %d times", changed)
		}
	})
}

func TestWithoutQuorumNothingIsChangedOfAHostsPower(t *testing.T) {
	powered(t, 5, func(w *world, h *hand) {
		w.start("ctl1")
		w.must(h.cut("compute-1"))
		w.must(h.KeepApart(w.Context(), "compute-2")) // which can be connected to
		w.must(w.cloud.ChangeHost("compute-3", novasim.HostChange{Power: "off"}))
		_, _, err := cib.NoteFenced(w.Context(), w.records, "compute-3", "", time.Now())
		w.must(err)
		w.members.set(func(v *cluster.View) { v.Quorum = false })
		_, _, before := h.seen()
		time.Sleep(10 * time.Minute)
		if _, _, changed := h.seen(); changed != before || len(h.times()) > 0 {
			w.Errorf("%d changes, %d tries", changed-before, len(h.times()))
		}
		w.members.set(func(v *cluster.View) { v.Quorum = true })
		time.Sleep(time.Minute)
		if apart, _ := h.Apart(w.Context()); slices.Contains(apart, "compute-2") {
			w.Errorf("apart: %v", apart)
		}
	})
}

func TestManyHostsThatAreOffKeepNoneFromComingBack(t *testing.T) {
	powered(t, 2, func(w *world, h *hand) {
		w.keepOff, h.asking = true, 300*time.Millisecond
		for n := range 110 {
			name := fmt.Sprintf("silent-%d", n)
			w.must(w.cloud.AddHost(name))
			w.must(h.cut(name))
		}
		w.must(h.cut("compute-1"))
		w.start("ctl1")
		w.until("evacuated", func(r record.Record) bool { return r.Phase == record.Evacuated })
		time.Sleep(2 * time.Minute)
		h.press("compute-1")
		w.until("let in", func(r record.Record) bool { return r.Host == "" })
	})
}

func TestWhenItsOwnerDiesBeforeTheGuardHasJudgedTheNextOneAsks(t *testing.T) {
	simulate(t, 5, func(w *world) {
		w.guard = supervisor.Guard{Share: 50}
		w.members.set(func(v *cluster.View) {
			v.Nodes["compute-1"], v.Nodes["compute-2"] = cluster.Node{Remote: true}, cluster.Node{Remote: true, Unclean: true}
		})
		w.start("ctl1")
		w.fence()
		w.until("claimed", func(r record.Record) bool { return r.Owner == "ctl1" })
		w.dies("ctl1")
		w.start("ctl2")
		w.until("held", func(r record.Record) bool { return r.Hold == record.HeldByGuard })
		if w.accepted() > 0 {
			w.Errorf("%d were sent, and nobody asked the guard: %s", w.accepted(), w.record().Encode())
		}
	})
}
