package evacuate_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nova-evac/nova-evac/pkg/evacuate"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/novasim"
	"github.com/nova-evac/nova-evac/pkg/novasim/control"
)

// overheard is Nova, with a note of every evacuation that is sent, and, where it is mute, without
// its sentences: faults, messages of errors, names.
type overheard struct {
	evacuate.Nova
	mute  bool
	began time.Time
	mu    sync.Mutex
	sent  []string
}

func (o *overheard) Servers(ctx context.Context, host string) ([]nova.Server, error) {
	servers, err := o.Nova.Servers(ctx, host)
	for n := range servers {
		// That the hypervisor has a guest already Nova says in the fault alone.
		if o.mute && !strings.HasSuffix(servers[n].Fault, "already exists.") {
			servers[n].Name, servers[n].Fault = "", ""
		}
	}
	return servers, o.quiet(err)
}

func (o *overheard) Evacuate(ctx context.Context, id, dest string) error {
	o.mu.Lock()
	o.sent = append(o.sent, fmt.Sprintf("%10v %s to %q", time.Since(o.began), id, dest))
	o.mu.Unlock()
	return o.quiet(o.Nova.Evacuate(ctx, id, dest))
}

func (o *overheard) Course(ctx context.Context, id string, created time.Time) (nova.Course, error) {
	c, err := o.Nova.Course(ctx, id, created)
	if o.mute && c.Err != "" {
		c.Err = "?" // that there is one is a fact
	}
	return c, o.quiet(err)
}

// quiet is an error of the same kind without a message.
func (o *overheard) quiet(err error) error {
	var e *nova.Error
	if o.mute && errors.As(err, &e) {
		return &nova.Error{Kind: e.Kind, Code: e.Code}
	}
	return err
}

// No decision depends on a sentence: with every sentence blank the same is sent at the same
// moments.
func TestWordsAreNotState(t *testing.T) {
	full := "no space left on device"
	for _, c := range []struct {
		name  string
		harm  func(w *world)
		later func(w *world)
	}{
		{"nothing goes wrong", nil, nil},
		{"rebuilds fail on a destination", func(w *world) { w.change("d2", novasim.HostChange{Fail: &full}) }, nil},
		{"a destination dies", nil, func(w *world) {
			time.Sleep(3 * time.Second)
			w.change("d1", novasim.HostChange{Power: "off"})
			time.Sleep(40 * time.Second)
			w.must(w.nova.ForceDown(w.Context(), w.service("d1"), "nova-evac gen=1: fenced"))
		}},
		{"the scheduler is frozen", func(w *world) { w.must(w.cloud.ChangeControllers(novasim.ControllerChange{Scheduler: "freeze"})) }, func(w *world) {
			time.Sleep(90 * time.Second)
			w.must(w.cloud.ChangeControllers(novasim.ControllerChange{Scheduler: "thaw"}))
		}},
		{"no host is valid for a while", func(w *world) {
			for _, host := range []string{"d1", "d2", "d3"} {
				w.change(host, novasim.HostChange{Power: "off"})
				w.must(w.nova.ForceDown(w.Context(), w.service(host), "broken"))
			}
		}, func(w *world) {
			time.Sleep(2 * time.Minute)
			w.must(w.cloud.AddHost("new"))
		}},
		{"requests are refused", func(w *world) {
			w.fault(control.Fault{Match: control.Match{Kind: "evacuate"}, Status: 400, Count: 5})
		}, nil},
		{"requests are turned away", func(w *world) {
			w.fault(control.Fault{Match: control.Match{Kind: "evacuate"}, Status: 429, Count: 5})
		}, nil},
		{"answers are lost", func(w *world) {
			w.fault(control.Fault{Match: control.Match{Kind: "evacuate"}, Cut: "after", Count: 5})
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			carry := func(blank bool) (sent []string) {
				simulate(t, 10, func(w *world) {
					nova := &overheard{Nova: w.nova, mute: blank, began: time.Now()}
					w.evac.Nova = nova
					w.evac.Policy.MaxInFlight = 1 // of two requests at one moment either may come first
					if blank {
						w.evac.Mute()
					}
					if c.harm != nil {
						c.harm(w)
					}
					w.run(func() {
						if c.later != nil {
							c.later(w)
						}
					})
					sent = nova.sent
				})
				return sent
			}
			spoken, blank := carry(false), carry(true)
			if diff := cmp.Diff(spoken, blank); diff != "" || len(spoken) < 10 {
				t.Error(diff)
			}
		})
	}
}
