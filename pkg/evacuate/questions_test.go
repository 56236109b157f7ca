package evacuate_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/pkg/evacuate"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/novasim"
)

// partly is a Nova that does not answer every question, and in which others are at work.
type partly struct {
	evacuate.Nova
	course, destinations, actions, stop func(id string) error
	// listed is called when the evacuation records have been listed.
	listed func()
}

func (p *partly) Course(ctx context.Context, id string, created time.Time) (nova.Course, error) {
	if err := fails(p.course, id); err != nil {
		return nova.Course{}, err
	}
	return p.Nova.Course(ctx, id, created)
}

func (p *partly) Destinations(ctx context.Context, id string) ([]string, error) {
	if err := fails(p.destinations, id); err != nil {
		return nil, err
	}
	return p.Nova.Destinations(ctx, id)
}

func (p *partly) Actions(ctx context.Context, id string) ([]string, error) {
	if err := fails(p.actions, id); err != nil {
		return nil, err
	}
	return p.Nova.Actions(ctx, id)
}

func (p *partly) Stop(ctx context.Context, id string) error {
	if err := fails(p.stop, id); err != nil {
		return err
	}
	return p.Nova.Stop(ctx, id)
}

func (p *partly) Evacuations(ctx context.Context, host string, since time.Time) ([]nova.Migration, error) {
	list, err := p.Nova.Evacuations(ctx, host, since)
	if p.listed != nil {
		p.listed()
	}
	return list, err
}

func fails(how func(id string) error, id string) error {
	if how == nil {
		return nil
	}
	return how(id)
}

// A question about one instance that is not answered keeps no other one waiting.
func TestAQuestionThatIsNotAnsweredConcernsItsInstanceAlone(t *testing.T) {
	failed := &nova.Error{Op: "list actions", Kind: nova.ErrAnswered, Code: 500, Message: "Unexpected API Error"}
	denied := &nova.Error{Op: "find the hosts that placement reserved", Kind: nova.ErrRefused, Code: 403, Message: "Access was denied to this resource."}
	for _, c := range []struct {
		name string
		// lame has p not answer some questions, and running counts the instances that have to be
		// back.
		lame    func(p *partly, one string)
		running int
	}{
		{"the events of one", func(p *partly, one string) { p.course = of(one, failed) }, 29},
		// Nothing tells then that the first ones were given up: they stay under way, and are named.
		{"the events of all", func(p *partly, _ string) { p.course = func(string) error { return denied } }, 0},
		{"the room of all", func(p *partly, _ string) { p.destinations = func(string) error { return denied } }, 30},
		{"placement is away", func(p *partly, _ string) {
			p.destinations = func(string) error {
				return &nova.Error{Op: "find the hosts", Kind: nova.ErrUnknownOutcome, Message: "no answer within 1m0s"}
			}
		}, 30},
	} {
		t.Run(c.name, func(t *testing.T) {
			simulate(t, 30, func(w *world) {
				// An evacuation that the scheduler has forgotten raises the questions.
				w.must(w.cloud.ChangeControllers(novasim.ControllerChange{Scheduler: "freeze"}))
				p := &partly{Nova: w.nova}
				c.lame(p, w.ids()[0])
				w.evac.Nova = p
				time.AfterFunc(70*time.Second, func() { w.must(w.cloud.ChangeControllers(novasim.ControllerChange{Scheduler: "thaw"})) })
				ctx, cancel := context.WithTimeout(w.Context(), 15*time.Minute)
				defer cancel()
				err := w.evac.Run(ctx)
				if r := w.cloud.Report(); r.Running < c.running || len(r.Breaches) > 0 {
					w.Errorf("after 15 minutes %d of 30 run (%v): %q", r.Running, err, w.reported().Wait)
				}
			})
		})
	}
}

// of fails for one instance.
func of(one string, err error) func(string) error {
	return func(id string) error {
		if id == one {
			return err
		}
		return nil
	}
}

func TestWhatIsNotKnownOfAFailedInstanceIsSaidAndAskedAgain(t *testing.T) {
	simulate(t, 6, func(w *world) {
		one := w.ids()[0]
		message, once := "No space left on device", 4 // the first ones that are rebuilt fail
		for _, d := range []string{"d1", "d2", "d3"} {
			w.change(d, novasim.HostChange{Fail: &message, FailCount: once})
		}
		var mu sync.Mutex
		silent := true
		w.evac.Nova = &partly{Nova: w.nova, actions: func(id string) error {
			mu.Lock()
			defer mu.Unlock()
			if id == one && silent {
				return &nova.Error{Op: "list actions of instance " + id, Kind: nova.ErrAnswered, Code: 500, Message: "Unexpected API Error"}
			}
			return nil
		}}
		said := w.listen("it cannot be told what has become of its evacuations: Unexpected API Error")
		w.run(func() {
			time.Sleep(20 * time.Minute)
			if r := w.cloud.Report(); r.Running != 5 {
				w.Errorf("%d of the 5 others run", r.Running)
			}
			mu.Lock()
			silent = false
			mu.Unlock()
		})
		w.unharmed(6, 5)
		if *said == "" {
			w.Error("it does not say what it waits for")
		}
	})
}

// Somebody else evacuates an instance after our list of records, and before that of instances.
func TestWhatSomebodyElseHasJustSentIsNotSentAgain(t *testing.T) {
	simulate(t, 6, func(w *world) {
		for _, d := range []string{"d1", "d2", "d3"} {
			w.change(d, novasim.HostChange{RebuildTime: "40s"})
		}
		sent := 0
		w.evac.Nova = &partly{Nova: w.nova, listed: func() {
			for sent < 2 && w.nova.Evacuate(w.Context(), w.ids()[sent], "d3") == nil {
				sent++
			}
		}}
		w.run(nil)
		if r := w.cloud.Report(); r.MostAccepted > 1 || len(r.Breaches) > 0 || r.Running != 6 {
			w.Errorf("%+v", r)
		}
	})
}

func TestAnArrivalThatCannotBeStoppedIsTriedAgain(t *testing.T) {
	simulate(t, 2, func(w *world) {
		stopped, err := w.cloud.AddInstances(novasim.Batch{Count: 3, Host: dead, VMState: "stopped"})
		w.must(err)
		message := "No space left on device"
		w.change("d1", novasim.HostChange{Fail: &message})
		tries := map[string]int{}
		w.evac.Nova = &partly{Nova: w.nova, stop: func(id string) error {
			if tries[id]++; tries[id] < 3 {
				return &nova.Error{Op: "stop instance " + id, Kind: nova.ErrAnswered, Code: 500, Message: "Unexpected API Error"}
			}
			return nil
		}}
		said := w.listen("to be stopped again, as they were when the host died")
		w.run(nil)
		for _, i := range w.cloud.State().Instances {
			if slices.Contains(stopped, i.ID) && i.VMState != "stopped" {
				w.Errorf("%+v", i)
			}
		}
		if len(tries) == 0 || *said == "" {
			w.Errorf("tries %v, it said %q", tries, *said)
		}
	})
}
