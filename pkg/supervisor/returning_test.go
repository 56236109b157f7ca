package supervisor_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/novasim"
	"github.com/nova-evac/nova-evac/pkg/record"
	"github.com/nova-evac/nova-evac/pkg/supervisor"
)

// power switches compute-1 on, and starts its nova-compute.
func (w *world) power() {
	w.Helper()
	w.must(w.cloud.ChangeHost("compute-1", novasim.HostChange{Power: "on"}))
}

// service is compute-1's, as Nova shows it.
func (w *world) service() nova.Service {
	w.Helper()
	services, err := novasim.Direct{Cloud: w.cloud}.Services(w.Context())
	w.must(err)
	return services[0]
}

// letIn waits for the record to be gone, and says how long that took.
func (w *world) letIn() time.Duration {
	w.Helper()
	began := time.Now()
	for range 10 * 60 * 20 {
		all, err := w.records.Query(w.Context())
		w.must(err)
		if len(all) == 0 {
			for _, b := range w.cloud.Report().Breaches {
				w.Errorf("%s: %s: %s", b.Kind, b.Instance, b.What)
			}
			return time.Since(began)
		}
		time.Sleep(50 * time.Millisecond)
	}
	w.Fatalf("not let in: %+v, %+v", w.record(), w.service())
	return 0
}

func TestAHostThatIsBackIsLetIn(t *testing.T) {
	simulate(t, 5, func(w *world) {
		for _, node := range []string{"ctl1", "ctl2", "ctl3"} {
			w.start(node)
		}
		w.fence()
		w.evacuated(5)
		r := w.until("waiting for nova-compute", func(r record.Record) bool { return r.Wait.String() == "nova-compute to start on compute-1" })
		time.Sleep(time.Hour)
		if now := w.record(); now.Updated != r.Updated || !w.service().ForcedDown {
			w.Errorf("an hour of nothing has changed the record to %s", now.Encode())
		}
		w.power()
		took := w.letIn()
		if s := w.service(); !s.Up || !s.Enabled || s.ForcedDown || s.DisabledReason != "" {
			w.Errorf("%+v", s)
		}
		if took > time.Minute {
			w.Errorf("it took %v", took)
		}
		// It is as if nothing had been: the next fencing is a first one.
		time.Sleep(time.Minute)
		w.fence()
		w.until("evacuated again", func(r record.Record) bool { return r.Phase == record.Evacuated && r.Gen == 1 })
	})
}

func TestAnotherSupervisorLetsAHostInWhenTheFirstCannotReachNova(t *testing.T) {
	simulate(t, 5, func(w *world) {
		for _, node := range []string{"ctl1", "ctl2", "ctl3"} {
			w.start(node)
		}
		w.fence()
		w.evacuated(5)
		first := w.running["ctl1"]
		first.mu.Lock()
		first.cut = true
		first.mu.Unlock()
		w.power()
		if took := w.letIn(); took > 2*time.Minute {
			w.Errorf("it took %v", took)
		}
	})
}

func TestAnOperatorsDisableOutlivesTheReturn(t *testing.T) {
	simulate(t, 5, func(w *world) {
		disabled, reason := "disabled", "disk is being replaced"
		w.must(w.cloud.SetService("compute-1", novasim.ServiceChange{Status: &disabled, DisabledReason: &reason}))
		w.start("ctl1")
		w.fence()
		w.evacuated(5)
		w.power()
		w.letIn()
		if s := w.service(); !s.Up || s.Enabled || s.ForcedDown || s.DisabledReason != reason {
			w.Errorf("%+v", s)
		}
	})
}

func TestAHostThatWasOnTooEarlyHasToBeRestarted(t *testing.T) {
	simulate(t, 12, func(w *world) {
		w.start("ctl1")
		w.fence()
		w.owned()
		w.power() // what is under way becomes completed, and done after that
		w.evacuated(12)
		w.until("saying what to do", func(r record.Record) bool {
			return r.Phase == record.Returning && strings.Contains(r.Wait.String(), "nova-compute to be restarted on compute-1")
		})
		w.must(w.cloud.ChangeHost("compute-1", novasim.HostChange{Compute: "kill"}))
		w.must(w.cloud.ChangeHost("compute-1", novasim.HostChange{Compute: "start"}))
		w.letIn()
	})
}

func TestAHostThatIsNotInTheClusterAgainIsNotLetIn(t *testing.T) {
	simulate(t, 5, func(w *world) {
		w.members.set(func(v *cluster.View) { v.Nodes["compute-1"] = cluster.Node{Remote: true} })
		w.start("ctl1")
		w.fence()
		w.evacuated(5)
		w.power()
		w.until("waiting for the cluster", func(r record.Record) bool { return r.Wait.String() == "the cluster to have compute-1 online again" })
		time.Sleep(10 * time.Minute)
		if !w.service().ForcedDown {
			w.Error("it was forced up")
		}
		w.members.set(func(v *cluster.View) { v.Nodes["compute-1"] = cluster.Node{Remote: true, Online: true} })
		w.letIn()
	})
}

func TestAnOwnerThatDiesWhileAHostReturnsIsFollowed(t *testing.T) {
	simulate(t, 5, func(w *world) {
		w.start("ctl1")
		w.fence()
		w.evacuated(5)
		w.power()
		w.until("returning", func(r record.Record) bool { return r.Phase == record.Returning && r.Owner == "ctl1" })
		w.dies("ctl1")
		w.start("ctl2")
		w.letIn()
	})
}

func TestAnOperatorCanHaveTheLastWordOnAReturn(t *testing.T) {
	simulate(t, 5, func(w *world) {
		w.manual = true
		w.start("ctl1")
		w.fence()
		w.evacuated(5)
		w.power()
		w.until("ready", func(r record.Record) bool { return strings.Contains(r.Wait.String(), "nova-evac admit compute-1") })
		w.must(w.operator().Admit(w.Context(), "compute-1"))
		w.letIn()
		if s := w.service(); !s.Up || !s.Enabled {
			w.Errorf("%+v", s)
		}
	})
}

func TestARecordThatIsThereAgainAfterTheReturnIsDeleted(t *testing.T) {
	simulate(t, 20, func(w *world) {
		w.start("ctl1")
		w.start("ctl2")
		w.fence()
		w.owned()
		past := w.records.Copy()
		w.evacuated(20)
		w.power()
		w.letIn()
		time.Sleep(5 * time.Second)
		w.records.Restore(past)
		w.letIn()
		if s := w.service(); !s.Up || !s.Enabled {
			w.Errorf("a host that is alive was forced down: %+v", s)
		}
	})
}

func TestAFencingThatNobodyRecordedIsNamedAtTheStart(t *testing.T) {
	simulate(t, 5, func(w *world) {
		w.must(w.cloud.ChangeHost("compute-1", novasim.HostChange{Power: "off"}))
		w.fencings = []cluster.Fencing{{Target: "ctl3", Completed: time.Now()}, {Target: "compute-2", Completed: time.Now().Add(-time.Hour)}, {Target: "compute-1", Completed: time.Now()}}
		time.Sleep(2 * time.Minute)
		w.start("ctl1")
		time.Sleep(time.Minute)
		var said []string
		for _, e := range w.log.AllEntries() {
			if strings.Contains(e.Message, "has no record") {
				said = append(said, e.Data["host"].(string))
			}
		}
		if strings.Join(said, " ") != "compute-1" || w.cloud.Report().MostAccepted > 0 {
			w.Errorf("named: %v", said)
		}
	})
}

// ---- the guard

func TestTheGuardHoldsWhatIsNewAndLetsItGo(t *testing.T) {
	simulate(t, 5, func(w *world) {
		w.guard = supervisor.Guard{Share: 50}
		w.members.set(func(v *cluster.View) {
			for _, host := range []string{"compute-1", "compute-2"} { // 2 of 3
				v.Nodes[host] = cluster.Node{Remote: true, Unclean: host == "compute-2"}
			}
		})
		w.start("ctl1")
		w.start("ctl2")
		w.fence()
		r := w.until("held", func(r record.Record) bool { return r.Hold == record.HeldByGuard && r.Owner == "" })
		if r.Phase != record.Fenced || !strings.Contains(r.Wait.String(), "2 of 3 compute hosts are down, more than storm_share=50%") {
			w.Errorf("%s", r.Encode())
		}
		time.Sleep(10 * time.Minute)
		if n := w.cloud.Report().MostAccepted; n != 0 {
			w.Error("it was evacuated all the same")
		}
		w.members.set(func(v *cluster.View) { v.Nodes["compute-2"] = cluster.Node{Remote: true, Online: true} })
		w.evacuated(5)
	})
}

func TestAHoldStandsWhoseAnswerIsLate(t *testing.T) {
	simulate(t, 5, func(w *world) {
		w.guard = supervisor.Guard{Hosts: 1}
		w.members.set(func(v *cluster.View) { v.Nodes["compute-2"] = cluster.Node{Remote: true} })
		p := w.start("ctl1")
		w.fence()
		w.until("claimed", func(r record.Record) bool { return r.Owner == "ctl1" })
		p.mu.Lock()
		p.late = 2 * time.Second // the supervisor reads the record before it knows that it was written
		p.mu.Unlock()
		w.until("held", func(r record.Record) bool { return r.Hold == record.HeldByGuard })
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			if r := w.record(); r.Hold != record.HeldByGuard || r.Owner != "" {
				w.Fatalf("it was claimed again: %s", r.Encode())
			}
		}
	})
}

func TestAnOperatorOverrulesTheGuard(t *testing.T) {
	simulate(t, 5, func(w *world) {
		w.guard = supervisor.Guard{Hosts: 1}
		w.members.set(func(v *cluster.View) { v.Nodes["compute-2"] = cluster.Node{Remote: true} })
		w.start("ctl1")
		w.fence()
		w.until("held", func(r record.Record) bool {
			return r.Hold == record.HeldByGuard && strings.Contains(r.Wait.String(), "storm_hosts=1")
		})
		w.must(w.operator().Resume(w.Context(), "compute-1"))
		w.evacuated(5)
	})
}

func TestAClusterInMaintenanceModeBeginsNothing(t *testing.T) {
	simulate(t, 12, func(w *world) {
		w.members.set(func(v *cluster.View) { v.Maintenance = true })
		w.start("ctl1")
		w.fence()
		w.until("held", func(r record.Record) bool {
			return strings.HasPrefix(r.Wait.String(), "the cluster to leave its maintenance mode")
		})
		w.members.set(func(v *cluster.View) { v.Maintenance = false })
		w.owned()
		w.members.set(func(v *cluster.View) { v.Maintenance = true }) // what is under way goes on
		w.evacuated(12)
	})
}

func TestAShellThatWorksItselfGoesOnToo(t *testing.T) {
	simulate(t, 5, func(w *world) {
		w.only = func(host string) bool { return host == "compute-1" }
		w.members.set(func(v *cluster.View) { v.Maintenance = true })
		w.start("ctl1")
		w.fence()
		w.until("held", func(r record.Record) bool { return r.Hold == record.HeldByGuard })
		w.members.set(func(v *cluster.View) { v.Maintenance = false })
		w.evacuated(5)
		w.power()
		time.Sleep(time.Hour)
		if r := w.record(); r.Phase != record.Evacuated {
			w.Errorf("it lets the host in, which is the supervisors' work: %s", r.Encode())
		}
	})
}

// ---- the operator

func (w *world) operator() supervisor.Operator {
	o := supervisor.Operator{Records: w.records, Nova: novasim.Direct{Cloud: w.cloud}, Now: time.Now, Members: w.members}
	if w.hand != nil {
		o.Power = w.hand
	}
	return o
}

func TestAHostIsHeldInTheMiddleAndResumed(t *testing.T) {
	simulate(t, 20, func(w *world) {
		w.start("ctl1")
		w.fence()
		w.owned()
		w.must(w.operator().Hold(w.Context(), "compute-1", "an operator"))
		r := w.until("without an owner", func(r record.Record) bool { return r.Owner == "" })
		time.Sleep(time.Minute)
		evacuated := w.cloud.Report().Evacuated
		time.Sleep(10 * time.Minute)
		if now := w.cloud.Report().Evacuated; now != evacuated || now == 20 || r.Wait.String() != "an operator" {
			w.Errorf("%d, later %d of 20 instances have left; %s", evacuated, now, r.Encode())
		}
		w.must(w.operator().Resume(w.Context(), "compute-1"))
		w.evacuated(20)
		for what, err := range map[string]error{
			"it is not held":           w.operator().Resume(w.Context(), "compute-1"),
			"there is nothing to hold": w.operator().Hold(w.Context(), "compute-1", "an operator"),
			"there is no record":       w.operator().Hold(w.Context(), "compute-2", "an operator"),
		} {
			if err == nil || !strings.Contains(err.Error(), what) {
				w.Errorf("%v, expected %s", err, what)
			}
		}
	})
}

func TestAForgottenHostStaysAsItIs(t *testing.T) {
	simulate(t, 20, func(w *world) {
		w.start("ctl1")
		w.fence()
		w.owned()
		w.must(w.operator().Forget(w.Context(), "compute-1"))
		time.Sleep(10 * time.Minute) // the witness in Nova must not bring it back
		all, err := w.records.Query(w.Context())
		w.must(err)
		s := w.service()
		if len(all) != 0 || !s.ForcedDown || s.Enabled || s.DisabledReason != nova.DisownedReason || w.cloud.Report().Evacuated == 20 {
			w.Errorf("%+v, %+v", all, s)
		}
	})
}

func TestAHostIsNotAdmittedWhileItsEvacuationsAreUnderWay(t *testing.T) {
	simulate(t, 20, func(w *world) {
		w.start("ctl1")
		w.fence()
		for w.accepted() == 0 { // none is done yet
			time.Sleep(100 * time.Millisecond)
		}
		err := w.operator().Admit(w.Context(), "compute-1")
		if !errors.Is(err, nova.ErrRefused) || !strings.Contains(err.Error(), "4 evacuations of it are not over") {
			w.Errorf("%v", err)
		}
		if s := w.service(); !s.ForcedDown || w.record().Host == "" {
			w.Errorf("%+v", s)
		}
	})
}

func TestAHostIsAdmittedInTheMiddleOnlyWhenNovaLetsIt(t *testing.T) {
	simulate(t, 20, func(w *world) {
		w.start("ctl1")
		w.fence()
		w.until("in part done", func(r record.Record) bool { return r.Done > 2 })
		err := w.operator().Admit(w.Context(), "compute-1")
		if !errors.Is(err, nova.ErrRefused) {
			w.Errorf("%v", err)
		}
		if all, _ := w.records.Query(w.Context()); len(all) != 1 || !all[0].OnHold() {
			w.Errorf("%+v", all)
		}
		time.Sleep(time.Minute)
		w.power()
		w.must(w.operator().Admit(w.Context(), "compute-1"))
		time.Sleep(10 * time.Second) // its first heartbeat
		if s := w.service(); !s.Up || !s.Enabled || s.ForcedDown {
			w.Errorf("%+v", s)
		}
		if _, _, service, err := w.operator().Find(w.Context(), "compute-1"); err != nil || service.Host != "compute-1" {
			w.Errorf("%+v, %v", service, err)
		}
		if err := w.operator().Hold(w.Context(), "compute-1", ""); !errors.Is(err, supervisor.ErrNoRecord) {
			w.Error(err)
		}
	})
}

// pcs cluster node remove ctl1 --force, with an evacuation in its hands.
func TestAnOperatorsWordFreesAHostWhoseOwnerIsNoNodeAnyMore(t *testing.T) {
	simulate(t, 20, func(w *world) {
		w.start("ctl1")
		w.fence()
		w.owned()
		w.dies("ctl1")
		w.members.set(func(v *cluster.View) { delete(v.Nodes, "ctl1") })
		w.start("ctl2")
		r := w.until("named", func(r record.Record) bool { return strings.Contains(r.Wait.String(), "the cluster knows no node ctl1") })
		if !strings.Contains(r.Wait.String(), "'nova-evac resume'") {
			w.Errorf("it does not say what to do: %s", r.Wait)
		}
		time.Sleep(10 * time.Minute)
		if now := w.record(); now.Owner != "ctl1" {
			w.Errorf("taken over without a word: %s", now.Encode())
		}
		w.must(w.operator().Resume(w.Context(), "compute-1"))
		w.evacuated(20)
	})
}

func TestAnOwnerThatTheClusterKnowsIsNotTakenTheHostFrom(t *testing.T) {
	simulate(t, 20, func(w *world) {
		w.start("ctl1")
		w.fence()
		w.owned()
		if err := w.operator().Resume(w.Context(), "compute-1"); err == nil || !strings.Contains(err.Error(), "not held") {
			w.Errorf("%v", err)
		}
		w.evacuated(20)
	})
}
