package supervisor_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/novasim"
	"github.com/nova-evac/nova-evac/pkg/ownership"
	"github.com/nova-evac/nova-evac/pkg/record"
	"github.com/nova-evac/nova-evac/pkg/supervisor"
)

// named makes a world in which Nova has hosts of these names, and n instances on the first.
func named(t *testing.T, n int, hosts string, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		names := strings.Fields(hosts)
		w := &world{T: t, records: &cib.Memory{}, running: map[string]*process{}, members: &members{view: cluster.View{
			Quorum: true, Nodes: map[string]cluster.Node{}, Supervisors: map[string]bool{}}}}
		for _, node := range []string{"ctl1", "ctl2", "ctl3"} {
			w.members.view.Nodes[node] = cluster.Node{Online: true}
		}
		w.cloud = novasim.New(novasim.Config{Hosts: names, RebuildTime: 5 * time.Second, Now: time.Now,
			Instances: []novasim.Batch{{Count: n, Host: names[0]}}})
		defer func() {
			for _, p := range w.running {
				p.stop()
				<-p.ended
			}
		}()
		test(w)
	})
}

// off takes the power of a host.
func (w *world) off(host string) {
	w.Helper()
	w.must(w.cloud.ChangeHost(host, novasim.HostChange{Power: "off"}))
}

// hook is the fencing of a host under a plug.
func (w *world) hook(plug, node string) {
	w.Helper()
	_, _, err := cib.NoteFenced(w.Context(), w.records, plug, node, time.Now())
	w.must(err)
}

func (w *world) tellNova(host string, r record.Record) {
	w.Helper()
	cloud := novasim.Direct{Cloud: w.cloud}
	services, err := cloud.Services(w.Context())
	w.must(err)
	for _, s := range services {
		if s.Host == host {
			disable, _ := ownership.Telling(s, r.Witness().Reason())
			w.must(cloud.ForceDown(w.Context(), s, disable))
		}
	}
}

func (w *world) byHand(host string) (cib.Stored, error) {
	return supervisor.ByHand{Nova: novasim.Direct{Cloud: w.cloud}, Records: w.records, Now: time.Now, PoweredOff: true}.Record(w.Context(), host)
}

func (w *world) all() []cib.Stored {
	w.Helper()
	all, err := w.records.Query(w.Context())
	w.must(err)
	return all
}

// one waits until there is one record, and it is as it should be.
func (w *world) one(what string, is func(record.Record) bool) record.Record {
	w.Helper()
	for range 10 * 60 * 20 {
		if all := w.all(); len(all) == 1 && is(all[0].Record) {
			return all[0].Record
		}
		time.Sleep(50 * time.Millisecond)
	}
	for _, r := range w.all() {
		w.Errorf("%s: %s", r.Host, r.Encode())
	}
	w.Fatalf("waited for one record that is %s", what)
	return record.Record{}
}

// unharmed has the cloud say that so many were evacuated, each once.
func (w *world) onceEach(n int) {
	w.Helper()
	report := w.cloud.Report()
	for _, b := range report.Breaches {
		w.Errorf("%s: %s: %s", b.Kind, b.Instance, b.What)
	}
	if report.Evacuated != n || report.MostAccepted > 1 {
		w.Errorf("%+v", report)
	}
}

func isEvacuated(r record.Record) bool { return r.Phase == record.Evacuated && r.Owner == "" }

const full = "compute-1.x.org compute-2.x.org compute-3.x.org"

func TestByHandUnderNovasNameFindsTheRecordOfThePlug(t *testing.T) {
	named(t, 60, full, func(w *world) {
		w.start("ctl1")
		w.start("ctl2")
		w.off("compute-1.x.org")
		w.hook("compute-1", "")
		time.Sleep(5 * time.Second)
		if r, err := w.byHand("compute-1.x.org"); err != nil || r.Host != "compute-1" {
			w.Errorf("%s, %v", r.Host, err)
		}
		if r, err := w.byHand("COMPUTE-1.X.ORG"); err != nil || r.Host != "compute-1" {
			w.Errorf("%s, %v", r.Host, err)
		}
		w.one("evacuated", isEvacuated)
		w.onceEach(60)
	})
}

// Whatever the moment of the hook, and whether it could tell Nova.
func TestAHostThatIsRecordedTwiceIsEvacuatedOnce(t *testing.T) {
	for _, c := range []struct {
		name  string
		pause time.Duration
		told  bool
	}{
		{"at once", 0, false},
		{"while the first one is claimed", 20 * time.Millisecond, true},
		{"while the first one is at work", 8 * time.Second, true},
		{"minutes later, as of another fencing", 2 * time.Minute, true},
		{"after the first one was evacuated, and Nova was not told", 10 * time.Minute, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			named(t, 60, full, func(w *world) {
				w.start("ctl1")
				w.start("ctl2")
				w.start("ctl3")
				w.off("compute-1.x.org")
				_, err := w.byHand("compute-1.x.org")
				w.must(err)
				time.Sleep(c.pause)
				w.hook("compute-1", "")
				if c.told {
					r, _ := cib.Find(w.all(), "compute-1")
					w.tellNova("compute-1.x.org", r.Record)
				}
				writes := w.records.Writes()
				w.one("evacuated", isEvacuated)
				w.onceEach(60)
				if n := w.records.Writes() - writes; n > 80 {
					w.Errorf("%d writes", n)
				}
			})
		})
	}
}

func TestTwoRecordsOfAHostThatNobodyCarriesAreMadeOne(t *testing.T) {
	named(t, 5, full, func(w *world) {
		w.off("compute-1.x.org")
		now := time.Now()
		held := record.NewlyFenced("compute-1", "", now).Held(record.HeldByOperator, record.WaitFor("an operator"), now)
		held.Doubt = 3
		w.records.Restore(map[string]string{
			"compute-1":       held.Encode(),
			"compute-1.x.org": record.NewlyFenced("compute-1.x.org", "node-1", now.Add(time.Hour)).Settled(now).Encode(),
		})
		w.start("ctl1")
		r := w.one("held", func(r record.Record) bool { return r.Hold == record.HeldByOperator })
		if r.Doubt != 3 || !r.Unfinished() {
			w.Errorf("%s: %s", r.Host, r.Encode())
		}
	})
}

func TestAnOperatorSaysAnyNameOfAHost(t *testing.T) {
	for _, name := range []string{"compute-1", "compute-1.x.org", "COMPUTE-1", "node-1"} {
		t.Run(name, func(t *testing.T) {
			named(t, 60, full, func(w *world) {
				w.start("ctl1")
				w.off("compute-1.x.org")
				w.hook("compute-1", "node-1")
				time.Sleep(7 * time.Second)
				o := w.operator()
				w.must(o.Hold(w.Context(), name, "an operator"))
				w.one("held", func(r record.Record) bool { return r.Hold == record.HeldByOperator && r.Owner == "" })
				w.must(o.Resume(w.Context(), name))
				w.one("carried on", func(r record.Record) bool { return r.Owner == "ctl1" })
				w.must(o.Forget(w.Context(), name))
				if all := w.all(); len(all) > 0 {
					w.Errorf("it is still there: %s", all[0].Encode())
				}
				accepted := w.accepted()
				time.Sleep(2 * time.Minute)
				if all := w.all(); len(all) > 0 || w.accepted() != accepted {
					w.Errorf("somebody has gone on: %v", all)
				}
			})
		})
	}
}

func TestAServiceOfBeforeARenamingIsNotTakenForTheHost(t *testing.T) {
	named(t, 9, "compute-1.x.org compute-2.x.org compute-1", func(w *world) {
		w.off("compute-1") // and nobody has deleted it
		time.Sleep(48 * time.Hour)
		w.start("ctl1")
		w.start("ctl2")
		w.off("compute-1.x.org")
		w.hook("compute-1", "")
		r := w.one("held", func(r record.Record) bool { return r.Hold == record.HeldByName && r.Owner == "" })
		for _, part := range []string{"Nova has compute-1, silent since 2000-01-01T00:00", "and compute-1.x.org", "'nova-evac host compute-1.x.org'", "'openstack compute service delete"} {
			if !strings.Contains(r.Wait.String(), part) {
				w.Errorf("it does not say %q: %s", part, r.Wait)
			}
		}
		writes := w.records.Writes()
		time.Sleep(10 * time.Minute)
		if n := w.records.Writes() - writes; n > 0 {
			w.Errorf("%d writes while it is held", n)
		}
		w.onceEach(0)
		_, err := w.byHand("compute-1.x.org")
		w.must(err)
		if r := w.one("evacuated", isEvacuated); r.Host != "compute-1.x.org" || r.NodeName() != "compute-1" || r.Done != 9 {
			w.Errorf("%s: %s", r.Host, r.Encode())
		}
		w.onceEach(9)
	})
}

func TestNothingOfNothingIsNoSuccessWhereTheServiceWasSilentForLong(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(w *world)
		is   func(record.Record) bool
	}{
		{"the host has another name", func(w *world) {
			w.must(w.operator().Forget(w.Context(), "compute-1"))
			_, err := w.byHand("hv-1")
			w.must(err)
		}, func(r record.Record) bool { return isEvacuated(r) && r.Host == "hv-1" && r.Done == 4 }},
		{"it is the host, and it is empty", func(w *world) { w.must(w.operator().Resume(w.Context(), "compute-1")) },
			func(r record.Record) bool { return isEvacuated(r) && r.Host == "compute-1" && r.Total == 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			named(t, 4, "hv-1 hv-2 compute-1", func(w *world) {
				w.off("compute-1")
				time.Sleep(48 * time.Hour)
				w.start("ctl1")
				w.off("hv-1")
				w.hook("compute-1", "")
				r := w.one("held", func(r record.Record) bool { return r.Hold == record.HeldByName })
				if !strings.Contains(r.Wait.String(), "no instances on compute-1, which is silent since") {
					w.Error(r.Wait)
				}
				c.do(w)
				w.one("at its end", c.is)
			})
		})
	}
}

func TestANameThatFitsTwoHostsWaitsForTheRightOne(t *testing.T) {
	named(t, 4, "compute-1.a.org compute-1.b.org compute-2.a.org", func(w *world) {
		w.start("ctl1")
		w.off("compute-1.a.org")
		w.hook("compute-1", "")
		r := w.one("held", func(r record.Record) bool { return r.Hold == record.HeldByName })
		if !strings.Contains(r.Wait.String(), "fits compute-1.a.org, compute-1.b.org in Nova") {
			w.Error(r.Wait)
		}
		time.Sleep(time.Minute)
		if _, err := w.byHand("compute-1"); err == nil {
			w.Error("by hand, it guesses")
		}
		if err := w.operator().Admit(w.Context(), "compute-1"); err == nil || !strings.Contains(err.Error(), "does not say which host it is") {
			w.Errorf("admit: %v", err)
		}
		_, err := w.byHand("compute-1.a.org")
		w.must(err)
		if r := w.one("evacuated", isEvacuated); r.Host != "compute-1.a.org" || r.Done != 4 {
			w.Errorf("%s: %s", r.Host, r.Encode())
		}
		w.onceEach(4)
	})
}

func TestARecordOfAHostThatNovaDoesNotKnowCostsLittleAndCanBeDropped(t *testing.T) {
	named(t, 1, full, func(w *world) {
		w.start("ctl1")
		w.hook("compute-9", "node-9")
		r := w.one("held", func(r record.Record) bool { return r.Hold == record.HeldByName && r.Owner == "" })
		if !strings.Contains(r.Wait.String(), "Nova knows no compute-9") || !strings.Contains(r.Wait.String(), "'nova-evac forget compute-9'") {
			w.Error(r.Wait)
		}
		time.Sleep(time.Minute)
		asked := func() int {
			w.members.mu.Lock()
			defer w.members.mu.Unlock()
			return w.members.asked
		}
		before := asked()
		writes := w.records.Writes()
		time.Sleep(time.Minute)
		if n := asked() - before; n > 15 {
			w.Errorf("the cluster was asked %d times in a minute", n)
		}
		if n := w.records.Writes() - writes; n > 0 {
			w.Errorf("%d writes in a minute", n)
		}
		// Nova lists it: a cell's database was away, or the host is new.
		w.must(w.cloud.AddHost("compute-9"))
		w.one("carried", func(r record.Record) bool { return r.Owner == "ctl1" })

		w.hook("compute-8", "node-8")
		time.Sleep(10 * time.Second)
		w.must(w.operator().Forget(w.Context(), "compute-8"))
		w.one("the other one", func(r record.Record) bool { return r.Host == "compute-9" })
	})
}

func TestAHostWithCapitalsComesBackAsAnyOther(t *testing.T) {
	named(t, 3, "COMPUTE-1 COMPUTE-2", func(w *world) {
		w.start("ctl1")
		w.off("COMPUTE-1")
		w.hook("compute-1", "")
		w.one("evacuated", isEvacuated)
		w.must(w.cloud.ChangeHost("COMPUTE-1", novasim.HostChange{Power: "on"}))
		for range 60 {
			if len(w.all()) == 0 {
				w.onceEach(3)
				return
			}
			time.Sleep(5 * time.Second)
		}
		w.Errorf("not let in: %s", w.all()[0].Encode())
	})
}

func TestTheGuardCountsNodesWhoseNamesOnlyTheHostMapKnows(t *testing.T) {
	simulate(t, 5, func(w *world) {
		w.guard = supervisor.Guard{Share: 50}
		w.members.set(func(v *cluster.View) {
			for _, node := range []string{"node-1", "node-2", "node-3"} {
				v.Nodes[node] = cluster.Node{Remote: true, Unclean: true}
			}
		})
		w.start("ctl1")
		w.off("compute-1")
		w.hook("compute-1", "node-1")
		w.until("held", func(r record.Record) bool { return r.Hold == record.HeldByGuard })
		w.onceEach(0)
	})
}

func TestAHostThatAnotherRecordMayBeOfWaitsToo(t *testing.T) {
	named(t, 20, "compute-1.a.org compute-1.b.org compute-2.a.org", func(w *world) {
		w.start("ctl1")
		w.start("ctl2")
		w.off("compute-1.a.org")
		_, err := w.byHand("compute-1.a.org")
		w.must(err)
		time.Sleep(7 * time.Second) // some have been sent
		w.hook("compute-1", "node-1")
		time.Sleep(10 * time.Second)
		for _, r := range w.all() {
			if r.Hold != record.HeldByName || r.Owner != "" {
				w.Errorf("%s: %s", r.Host, r.Encode())
			}
		}
		sent := w.accepted()
		time.Sleep(5 * time.Minute)
		if n := w.accepted(); n != sent || n == 20 {
			w.Errorf("%d were sent, and %d while it was held", sent, n-sent)
		}
		_, err = w.byHand("compute-1.a.org") // the operator's word that they are one
		w.must(err)
		if r := w.one("evacuated", isEvacuated); r.Host != "compute-1.a.org" || r.NodeName() != "node-1" {
			w.Errorf("%s: %s", r.Host, r.Encode())
		}
		w.onceEach(20)
	})
}

func TestTwoNodesAreTwoHostsWhateverTheirNamesAre(t *testing.T) {
	named(t, 5, "compute-1.a.org compute-1.b.org compute-2.a.org", func(w *world) {
		w.members.set(func(v *cluster.View) {
			v.Nodes["node-a"], v.Nodes["node-b"] = cluster.Node{Remote: true}, cluster.Node{Remote: true}
		})
		w.start("ctl1")
		w.hook("compute-1", "node-b")
		w.off("compute-1.a.org")
		w.hook("compute-1.a.org", "node-a")
		for range 600 {
			if r, _ := cib.Find(w.all(), "compute-1.a.org"); isEvacuated(r.Record) {
				w.onceEach(5)
				return
			}
			time.Sleep(time.Second)
		}
		w.Errorf("it waits for a record of another node: %v", w.all())
	})
}

func TestARecordThatHasLostItsNodeHasItFromNova(t *testing.T) {
	named(t, 2, full, func(w *world) {
		w.off("compute-1.x.org")
		w.hook("compute-1", "node-1")
		w.start("ctl1")
		r := w.one("evacuated", isEvacuated)
		r.Node = ""
		w.records.Restore(map[string]string{"compute-1": r.Encode()})
		w.one("of its node again", func(r record.Record) bool { return r.Node == "node-1" })
	})
}
