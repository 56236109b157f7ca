package evacuate_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"github.com/nova-evac/nova-evac/pkg/evacuate"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/novasim"
	"github.com/nova-evac/nova-evac/pkg/novasim/api"
	"github.com/nova-evac/nova-evac/pkg/novasim/control"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// dead is the host that every test evacuates; d1 to d3 are what is left.
const dead = "src"

// world is an evacuation through the real client and real HTTP, on the simulated
// cloud and under a simulated clock.
type world struct {
	*testing.T
	cloud *novasim.Cloud
	api   *api.Server
	nova  *nova.Client
	log   *logtest.Hook
	// last is what was reported last, most the most in flight at once.
	last evacuate.Progress
	most int
	mu   sync.Mutex
	may  error // why nothing may be sent
	evac *evacuate.Evacuation
}

// simulate brings a cloud up with n instances on a host that has just lost its power.
func simulate(t *testing.T, n int, test func(w *world)) {
	t.Helper()
	simulateScheduling(t, n, 300*time.Millisecond, test)
}

func simulateScheduling(t *testing.T, n int, scheduling time.Duration, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t}
		w.cloud = novasim.New(novasim.Config{
			Hosts: []string{dead, "d1", "d2", "d3"}, Instances: []novasim.Batch{{Count: n, Host: dead}},
			RebuildTime: 5 * time.Second, ScheduleTime: scheduling, Now: time.Now,
		})
		w.api = api.New(w.cloud, api.Config{Latency: 50 * time.Millisecond})
		network := api.NewPipe()
		server := &http.Server{Handler: w.api}
		served := make(chan struct{})
		go func() { defer close(served); _ = server.Serve(network) }()
		defer func() { server.Close(); <-served }()
		var err error
		w.nova, err = nova.Connect(nova.Options{AuthURL: "http://127.0.0.1:5000/v3", Username: "admin", Password: "secret", ProjectName: "admin",
			Timeout: time.Minute, Dial: network.Dial})
		w.must(err)
		w.must(w.cloud.ChangeHost(dead, novasim.HostChange{Power: "off"}))
		var logger *logrus.Logger
		logger, w.log = logtest.NewNullLogger()
		logger.SetOutput(io.Discard)
		policy := evacuate.DefaultPolicy
		policy.MaxInFlight = 4
		w.evac = &evacuate.Evacuation{Host: dead, Witness: record.Witness{Gen: 1, Since: time.Now(), Claim: "me/1"}, Nova: w.nova, Policy: policy, Poll: func() time.Duration { return time.Second }, Now: time.Now,
			May: func() error { w.mu.Lock(); defer w.mu.Unlock(); return w.may }, Log: logrus.NewEntry(logger),
			Report: func(p evacuate.Progress) int {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.last, w.most = p, max(w.most, p.InFlight)
				return p.Failed
			}}
		test(w)
	})
}

// listen keeps what the evacuation waits for whenever it has a text in it.
func (w *world) listen(text string) *string {
	seen, report := new(string), w.evac.Report
	w.evac.Report = func(p evacuate.Progress) int {
		if strings.Contains(p.Wait, text) {
			*seen = p.Wait
		}
		return report(p)
	}
	return seen
}

// reported is what the evacuation last said, while it runs.
func (w *world) reported() evacuate.Progress {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) fault(f control.Fault) {
	w.Helper()
	_, err := w.api.AddFault(f)
	w.must(err)
}

func (w *world) change(host string, change novasim.HostChange) {
	w.Helper()
	w.must(w.cloud.ChangeHost(host, change))
}

// run carries the host through, within a bound of simulated time, while meanwhile
// does its harm. It returns how long it took.
func (w *world) run(meanwhile func()) time.Duration {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 3*time.Hour)
	defer cancel()
	began := time.Now()
	if meanwhile != nil {
		harm := make(chan struct{})
		go func() { defer close(harm); meanwhile() }()
		defer func() { <-harm }()
	}
	if err := w.evac.Run(ctx); err != nil {
		w.Fatalf("%v; last: %+v", err, w.last)
	}
	return time.Since(began)
}

// unharmed has the cloud say that all n instances run elsewhere, by at most so many
// evacuations each.
func (w *world) unharmed(n, evacuations int) {
	w.Helper()
	r := w.cloud.Report()
	for _, b := range r.Breaches {
		w.Errorf("%s: %s: %s", b.Kind, b.Instance, b.What)
	}
	if r.Running != n || r.OnHost[dead] != 0 || r.MostAccepted > evacuations {
		w.Errorf("of %d instances: %+v", n, r)
	}
	if w.last.Done != n || w.last.Total != n || w.most > 4 {
		w.Errorf("reported %+v, at most %d in flight", w.last, w.most)
	}
}

func (w *world) said(text string) int {
	n := 0
	for _, e := range w.log.AllEntries() {
		if strings.Contains(e.Message, text) {
			n++
		}
	}
	return n
}

func TestAllInstancesLeaveOnceAndTheSlotsStayFull(t *testing.T) {
	simulate(t, 20, func(w *world) {
		took := w.run(nil)
		w.unharmed(20, 1)
		if w.most != 4 || took > time.Minute {
			w.Errorf("%d in flight at most, it took %v", w.most, took)
		}
	})
}

func TestAnAnswerThatIsLostIsNotSentTwice(t *testing.T) {
	simulate(t, 12, func(w *world) {
		w.fault(control.Fault{Match: control.Match{Kind: "evacuate"}, Cut: "after", Count: 5})
		w.run(nil)
		w.unharmed(12, 1)
	})
}

func TestARequestThatIsLostIsSentAgainAfterTheAPIsTime(t *testing.T) {
	simulate(t, 4, func(w *world) {
		w.fault(control.Fault{Match: control.Match{Kind: "evacuate"}, Cut: "before", Count: 2})
		if took := w.run(nil); took < evacuate.DefaultPolicy.APITime {
			w.Errorf("done after %v, before anybody could know", took)
		}
		w.unharmed(4, 1)
	})
}

func TestAnAnswerAfterAMinuteIsWaitedFor(t *testing.T) {
	simulate(t, 3, func(w *world) {
		w.fault(control.Fault{Match: control.Match{Kind: "evacuate"}, Latency: "90s", Count: 1}) // longer than our own limit
		w.run(nil)
		w.unharmed(3, 1)
	})
}

func TestWhateverTheAPIAnswersItEnds(t *testing.T) {
	for _, f := range []control.Fault{
		{Match: control.Match{Kind: "evacuate"}, Status: 503, Count: 7},
		{Match: control.Match{Kind: "evacuate"}, Status: 500, Count: 7},
		{Match: control.Match{Kind: "evacuate"}, Status: 429, Count: 7},
		{Match: control.Match{Kind: "evacuate"}, Status: 504, Count: 3},
		{Match: control.Match{Kind: "evacuate"}, Status: 400, Count: 3},
		{Match: control.Match{Kind: "*"}, Status: 401, Count: 9},
		{Match: control.Match{Kind: "services"}, Status: 502, For: "5m"},
		{Match: control.Match{Kind: "services"}, Hang: true, For: "1h"},
		{Match: control.Match{Kind: "service"}, Cut: "after", Count: 2},
		{Match: control.Match{Kind: "servers"}, Cut: "before", For: "3m"},
		{Match: control.Match{Kind: "migrations"}, Status: 500, For: "20m"},
		{Match: control.Match{Kind: "*"}, Cut: "after", Probability: 0.2, For: "10m"},
		{Match: control.Match{Kind: "*"}, Status: 503, Probability: 0.4, For: "10m"},
	} {
		t.Run(fmt.Sprintf("%s %d %s hang=%v", f.Match.Kind, f.Status, f.Cut, f.Hang), func(t *testing.T) {
			simulate(t, 10, func(w *world) {
				w.fault(f)
				w.run(nil)
				w.unharmed(10, 1)
			})
		})
	}
}

func TestKeystoneIsAwayAndNoTokenIsValid(t *testing.T) {
	simulate(t, 20, func(w *world) {
		w.run(func() {
			time.Sleep(8 * time.Second)
			w.fault(control.Fault{Match: control.Match{Kind: "keystone"}, Status: 503, For: "10m"})
			w.api.RevokeTokens()
		})
		w.unharmed(20, 1)
		if n := w.said("trying again"); n == 0 || n > 3 {
			w.Errorf("complained %d times about one trouble", n)
		}
	})
}

func TestNoValidHostUntilAHostIsEnabled(t *testing.T) {
	simulate(t, 3, func(w *world) {
		for _, host := range []string{"d1", "d2", "d3"} {
			w.change(host, novasim.HostChange{Power: "off"})
			w.must(w.nova.ForceDown(w.Context(), w.service(host), "broken"))
		}
		var back time.Time
		w.run(func() {
			time.Sleep(30 * time.Minute)
			if last := w.reported(); last.Failed != 3 || !strings.Contains(last.Wait, "No valid host") {
				w.Errorf("half an hour without a host: %+v", last)
			}
			w.must(w.cloud.AddHost("new"))
			back = time.Now()
		})
		w.unharmed(3, 100)
		if took := time.Since(back); took > 20*time.Second {
			w.Errorf("a host came, and the instances %v later", took)
		}
	})
}

func TestADestinationDiesDuringTheRebuild(t *testing.T) {
	for name, first := range map[string]string{"before it took the message": "kill", "while it works": ""} {
		t.Run(name, func(t *testing.T) {
			simulate(t, 9, func(w *world) {
				if first != "" {
					w.change("d1", novasim.HostChange{Compute: first}) // still up for Nova: it is chosen, and takes nothing
				}
				w.run(func() {
					time.Sleep(3 * time.Second)
					w.change("d1", novasim.HostChange{Power: "off"})
					time.Sleep(40 * time.Second)
					// Its own evacuation, which has begun meanwhile, says that it is dead.
					w.must(w.nova.ForceDown(w.Context(), w.service("d1"), "nova-evac gen=1: fenced"))
				})
				w.unharmed(9, 2)
			})
		})
	}
}

func TestARebuildThatFailsOnOneDestinationWorksOnAnother(t *testing.T) {
	simulate(t, 6, func(w *world) {
		broken := "Build of instance aborted: no space left on device"
		w.change("d2", novasim.HostChange{Fail: &broken})
		seen := w.listen(broken)
		w.run(nil)
		w.unharmed(6, 20)
		if !strings.Contains(*seen, "(on d2)") {
			w.Errorf("nobody was told why, and where: %q", *seen)
		}
	})
}

func TestWhatAFrozenSchedulerNeverAnsweredIsSentAgain(t *testing.T) {
	simulate(t, 6, func(w *world) {
		w.must(w.cloud.ChangeControllers(novasim.ControllerChange{Scheduler: "freeze"}))
		seen := w.listen("MessagingTimeout")
		w.run(func() {
			time.Sleep(90 * time.Second)
			w.must(w.cloud.ChangeControllers(novasim.ControllerChange{Scheduler: "thaw"}))
		})
		w.unharmed(6, 3)
		if !strings.Contains(*seen, "failed, vm-") {
			w.Errorf("nobody was told why: %q", *seen)
		}
	})
}

func TestWhatAFrozenConductorHasNotReadIsNotSentTwice(t *testing.T) {
	simulate(t, 6, func(w *world) {
		w.must(w.cloud.ChangeControllers(novasim.ControllerChange{Conductor: "freeze"}))
		w.run(func() {
			time.Sleep(15 * time.Minute)
			w.must(w.cloud.ChangeControllers(novasim.ControllerChange{Conductor: "thaw"}))
		})
		w.unharmed(6, 1)
	})
}

func TestWhatAStoppingDestinationLostIsSentAgain(t *testing.T) {
	simulate(t, 12, func(w *world) {
		slow := novasim.HostChange{RebuildTime: "2m"}
		w.change("d1", slow)
		w.change("d2", slow)
		w.run(func() {
			for _, state := range []string{"stop", "start"} { // it has rebuilds to finish, then is on again
				time.Sleep(30 * time.Second)
				w.change("d1", novasim.HostChange{Compute: state})
				time.Sleep(4 * time.Minute)
			}
		})
		w.unharmed(12, 2)
	})
}

func TestAStoppedInstanceStaysStoppedAlsoAfterARebuildThatFailed(t *testing.T) {
	simulate(t, 2, func(w *world) {
		stopped, err := w.cloud.AddInstances(novasim.Batch{Count: 4, Host: dead, VMState: "stopped"})
		w.must(err)
		broken := "no space left on device"
		w.change("d1", novasim.HostChange{Fail: &broken})
		w.fault(control.Fault{Match: control.Match{Kind: "action"}, Status: 503, Count: 2})
		w.run(nil)
		for _, i := range w.cloud.State().Instances {
			want := "active"
			if slices.Contains(stopped, i.ID) {
				want = "stopped"
			}
			if i.VMState != want || i.Host == dead {
				w.Errorf("%+v", i)
			}
		}
	})
}

func TestAPausedInstanceIsResetFirstIfThePolicySaysSo(t *testing.T) {
	simulate(t, 3, func(w *world) {
		w.change(dead, novasim.HostChange{Power: "on"})
		_, err := w.cloud.AddInstances(novasim.Batch{Count: 8, Host: dead, VMState: "paused"})
		w.must(err)
		w.change(dead, novasim.HostChange{Power: "off"})
		w.evac.Policy.ResetStates = []string{"paused"}
		w.run(nil)
		w.unharmed(11, 1)
	})
	simulate(t, 3, func(w *world) {
		w.change(dead, novasim.HostChange{Power: "on"})
		_, err := w.cloud.AddInstances(novasim.Batch{Count: 8, Host: dead, VMState: "paused"})
		w.must(err)
		w.change(dead, novasim.HostChange{Power: "off"})
		w.run(nil)
		if w.last.Done != 3 || w.last.Skipped != 8 {
			w.Errorf("%+v", w.last)
		}
	})
}

func TestAnInstanceThatItsUserDeletesIsNotMissed(t *testing.T) {
	simulate(t, 6, func(w *world) {
		ids := w.ids()
		w.run(func() {
			time.Sleep(2 * time.Second)
			for _, id := range ids[:2] {
				w.must(w.cloud.Delete(id))
			}
		})
		if r := w.cloud.Report(); r.Running != 4 || len(r.Breaches) > 0 {
			w.Errorf("%+v", r)
		}
		if wait := w.last.Wait; !strings.Contains(wait, "2 deleted meanwhile, vm-") || !strings.Contains(wait, "its guest may be left on ") {
			w.Errorf("the guests that may be left are not named: %q", wait)
		}
	})
}

func TestNothingIsSentWhileTheClusterDoesNotAllowIt(t *testing.T) {
	simulate(t, 3, func(w *world) {
		w.may = errors.New("this node must not act: its partition has no quorum")
		w.run(func() {
			time.Sleep(10 * time.Minute)
			if r := w.api.Requests(); len(r.Evacuations) > 0 || r.Counts["service"] > 0 {
				w.Errorf("sent %v", r.Counts)
			}
			if last := w.reported(); !strings.Contains(last.Wait, "no quorum") {
				w.Errorf("waits for %q", last.Wait)
			}
			w.mu.Lock()
			w.may = nil
			w.mu.Unlock()
		})
		w.unharmed(3, 1)
	})
}

func TestAStopWaitsForTheAnswersThatComeAndNamesThoseThatDoNot(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault control.Fault
		want  error
	}{
		{"all answered", control.Fault{Match: control.Match{Kind: "evacuate"}, Latency: "2s"}, nil},
		{"one hangs", control.Fault{Match: control.Match{Kind: "evacuate"}, Hang: true, Count: 1}, evacuate.ErrUnanswered},
		{"one was lost", control.Fault{Match: control.Match{Kind: "evacuate"}, Cut: "after", Count: 1}, evacuate.ErrUnanswered},
	} {
		t.Run(c.name, func(t *testing.T) {
			simulate(t, 20, func(w *world) {
				w.fault(c.fault)
				ctx, cancel := context.WithCancel(w.Context())
				time.AfterFunc(2*time.Second, cancel)
				began := time.Now()
				err := w.evac.Run(ctx)
				if !errors.Is(err, context.Canceled) || errors.Is(err, evacuate.ErrUnanswered) != (c.want != nil) {
					w.Errorf("ended with %v", err)
				}
				if took := time.Since(began); took > 12*time.Second {
					w.Errorf("a stop took %v", took)
				}
				time.Sleep(2 * time.Minute) // what hangs ends by its own limit
			})
		})
	}
}

// proxied is a Nova behind a proxy: what was sent has its effect, whoever waits for it.
type proxied struct{ evacuate.Nova }

func (p proxied) Evacuate(ctx context.Context, id, dest string) error {
	came := make(chan error, 1)
	go func() { came <- p.Nova.Evacuate(context.WithoutCancel(ctx), id, dest) }()
	select {
	case err := <-came:
		return err
	case <-ctx.Done():
		return &nova.Error{Op: "evacuate", Kind: nova.ErrUnknownOutcome, Message: "interrupted"}
	}
}

// One evacuation ends while a request is on its way to Nova, and the next begins. With the
// ledger of the first it knows of that request, although nobody tells it to be in doubt.
func TestTheNextEvacuationKnowsWhatTheOneBeforeHasSent(t *testing.T) {
	for _, c := range []struct {
		name   string
		shared bool
	}{
		{"with the ledger of the one before", true},
		{"with a ledger of its own, it sends an instance twice", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			simulate(t, 6, func(w *world) {
				w.evac.Ledger, w.evac.Nova = evacuate.NewLedger(w.evac.Policy), proxied{w.nova}
				w.fault(control.Fault{Match: control.Match{Kind: "evacuate"}, Latency: "14s", Count: 1})
				ctx, cancel := context.WithCancel(w.Context())
				time.AfterFunc(2*time.Second, cancel)
				if err := w.evac.Run(ctx); !errors.Is(err, evacuate.ErrUnanswered) || !w.evac.Ledger.Open(time.Now()) {
					w.Errorf("ended with %v", err)
				}
				next := *w.evac
				if w.evac = &next; !c.shared {
					next.Ledger = nil
					short, cancel := context.WithTimeout(w.Context(), 2*time.Minute)
					defer cancel()
					_ = next.Run(short) // the instance may have a guest in two places: it waits
					if w.cloud.Report().MostAccepted == 1 {
						w.Error("nothing was sent twice")
					}
					return
				}
				w.run(nil)
				time.Sleep(time.Minute) // what was late has come
				if next.Ledger.Open(time.Now()) {
					w.Error("all is answered, and the ledger is open")
				}
				if r := w.cloud.Report(); r.MostAccepted != 1 || r.Running != 6 || len(r.Breaches) > 0 {
					w.Errorf("%+v", r)
				}
			})
		})
	}
}

// service is a host's nova-compute, as Nova lists it.
func (w *world) service(host string) nova.Service {
	w.Helper()
	services, err := w.nova.Services(w.Context())
	w.must(err)
	at := slices.IndexFunc(services, func(s nova.Service) bool { return s.Host == host })
	if at < 0 {
		w.Fatalf("Nova lists no %s", host)
	}
	return services[at]
}

func (w *world) ids() []string {
	var ids []string
	for _, i := range w.cloud.State().Instances {
		ids = append(ids, i.ID)
	}
	slices.Sort(ids)
	return ids
}

// A big host: the slots stay full, and the requests stay few. The same in real time is
// in `make bench`.
func TestABigHost(t *testing.T) {
	const n, slots, rebuild = 400, 16, 5 * time.Second
	simulateScheduling(t, n, 0, func(w *world) {
		w.evac.Policy.MaxInFlight = slots
		took := w.run(nil)
		requests := 0
		for _, count := range w.api.Requests().Counts {
			requests += count
		}
		if r := w.cloud.Report(); r.Evacuated != n || r.MostAccepted != 1 || len(r.Breaches) > 0 {
			t.Errorf("%+v", r)
		}
		ideal := n * rebuild / slots
		t.Logf("%v, %.2f of the ideal; %.2f requests an instance: %v", took, float64(took)/float64(ideal), float64(requests)/n, w.api.Requests().Counts)
		if requests > 2*n {
			t.Errorf("%d requests for %d instances", requests, n)
		}
	})
}
