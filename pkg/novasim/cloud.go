// Package novasim is a simulated OpenStack cloud: as much of Nova and placement as an
// evacuation touches. It behaves as Nova 26.2 was seen to behave, and its hosts and
// controllers fail on demand. Unlike a real cloud it knows the truth: it can say whether an
// instance was lost, sent twice or ran on two hosts.
//
// Package api serves a cloud over HTTP, and makes faults of requests; package control speaks
// to its control API.
//
// Cloud is the state machine. Calls and a clock drive it; it starts no goroutine. Before
// each call, all events that have become due happen, in the order in which they became due.
// So it cannot be told from a cloud that works all the time, and a simulated clock can
// drive it.
package novasim

import (
	"cmp"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config configures a cloud. The zero value of a field is its default.
type Config struct {
	// Hosts are the compute hosts, all up and enabled.
	Hosts []string
	// Instances run at the start. A host that is named only here is made, too.
	Instances []Batch
	// RebuildTime is how long a destination works on one instance, give or take a
	// tenth. RebuildLimit is how many it works on at once, as max_concurrent_builds
	// would; 0 is without a limit.
	RebuildTime  time.Duration
	RebuildLimit int
	// ScheduleTime is how long the conductor and the scheduler take.
	ScheduleTime time.Duration
	// ClaimDelay is how long a destination that has claimed an instance takes before
	// it touches anything: the record is pre-migrating, the task still rebuilding.
	ClaimDelay time.Duration
	// SettleTime is how long each of Nova's short states lasts: the block devices'
	// mapping; no task while the host is still the source; the new host while the
	// record is not yet done. The default is 20 ms.
	SettleTime time.Duration
	// RPCTimeout is for how long the conductor waits for the scheduler, by default a minute.
	RPCTimeout time.Duration
	// ReportInterval is the pause between two heartbeats of a nova-compute, by default
	// ten seconds.
	ReportInterval time.Duration
	// ServiceDownTime is after how long without a heartbeat a service is down, by
	// default a minute.
	ServiceDownTime time.Duration
	// ResumeGuests makes every nova-compute, at its start, start the guests that ran when
	// its host lost its power (resume_guests_state_on_host_boot).
	ResumeGuests bool
	// Seed decides everything random: ids and jitter.
	Seed uint64
	// Now is the clock; nil is the wall clock.
	Now func() time.Time
}

// Batch is a number of instances that are alike.
type Batch struct {
	// Count is how many, at least 1; Host where they run.
	Count int    `json:"count,omitempty"`
	Host  string `json:"host"`
	// VMState is their vm_state, by default active. Of shelved_offloaded ones there
	// is no guest, and Nova knows no host.
	VMState string `json:"vm_state,omitempty"`
	// Name is the prefix of their names, by default vm.
	Name string `json:"name,omitempty"`
	// Group, if not empty, is a server group that allows one of its instances per host.
	Group string `json:"group,omitempty"`
}

func (c Config) withDefaults() Config {
	c.SettleTime = cmp.Or(c.SettleTime, 20*time.Millisecond)
	c.RPCTimeout = cmp.Or(c.RPCTimeout, time.Minute)
	c.ReportInterval = cmp.Or(c.ReportInterval, 10*time.Second)
	c.ServiceDownTime = cmp.Or(c.ServiceDownTime, time.Minute)
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Cloud is the simulated cloud. It is safe for concurrent use.
type Cloud struct {
	cfg Config

	mu sync.Mutex // guards all below
	state
	wake chan struct{} // closed at every change, for those that wait for one
}

// state is the part of a cloud that a reset clears.
type state struct {
	now        time.Time  // the present; within an event, when it was due
	ids        *rand.Rand // of hosts and instances: they do not depend on what was asked
	rand       *rand.Rand // of what happens
	due        events
	order      int
	hosts      []*host // by name
	instances  []*instance
	byID       map[string]*instance
	migrations []*migration // by id
	breaches   []Breach
	conductor  gate
	scheduler  gate
	away       bool // the cell's database
}

// gate is a service of the controllers that can be frozen.
type gate struct {
	frozen  bool
	waiting []func()
}

// New makes a cloud.
func New(cfg Config) *Cloud {
	c := &Cloud{cfg: cfg.withDefaults(), wake: make(chan struct{})}
	c.fresh()
	return c
}

// Reset puts the cloud back into the state that New made. Nothing that happened since is
// left.
func (c *Cloud) Reset() {
	defer c.lock()()
	c.fresh()
}

func (c *Cloud) fresh() {
	c.state = state{now: c.cfg.Now(), byID: map[string]*instance{},
		ids: rand.New(rand.NewPCG(c.cfg.Seed, 0)), rand: rand.New(rand.NewPCG(c.cfg.Seed, 1))}
	for _, name := range c.cfg.Hosts {
		c.addHost(name)
	}
	for _, batch := range c.cfg.Instances {
		if c.host(batch.Host) == nil {
			c.addHost(batch.Host)
		}
		c.addInstances(batch)
	}
}

// UUID draws a random UUID. The same source gives the same ones.
func UUID(r *rand.Rand) string {
	a, b := r.Uint64(), r.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x", a>>32, a>>16&0xffff, a&0xfff, b>>52, b&0xffffffffffff)
}

// lock locks the cloud and takes it to the present. The function that it returns unlocks it
// and wakes those that wait for a change.
func (c *Cloud) lock() (unlock func()) {
	c.mu.Lock()
	c.advance(c.cfg.Now())
	return func() {
		close(c.wake)
		c.wake = make(chan struct{})
		c.mu.Unlock()
	}
}

// look is lock for a caller that changes nothing.
func (c *Cloud) look() (unlock func()) {
	c.mu.Lock()
	c.advance(c.cfg.Now())
	return c.mu.Unlock
}

// Advance takes the cloud to a moment: all events due until then happen, in order. It never
// goes back. Under the wall clock it is not needed; under a simulated clock it makes things
// happen when no call comes.
func (c *Cloud) Advance(to time.Time) {
	defer c.lock()()
	c.advance(to)
}

func (c *Cloud) advance(to time.Time) {
	for len(c.due) > 0 && !c.due[0].at.After(to) {
		e := heap.Pop(&c.due).(event)
		c.now = e.at
		e.do()
	}
	if to.After(c.now) {
		c.now = to
	}
}

// Next gives the time of the next event; false if there is none.
func (c *Cloud) Next() (time.Time, bool) {
	defer c.look()()
	if len(c.due) == 0 {
		return time.Time{}, false
	}
	return c.due[0].at, true
}

// Now gives the present of the cloud.
func (c *Cloud) Now() time.Time {
	defer c.look()()
	return c.now
}

// after schedules an event.
func (c *Cloud) after(d time.Duration, do func()) {
	c.order++
	heap.Push(&c.due, event{c.now.Add(d), c.order, do})
}

// through runs something in a service of the controllers: at once, or when the service is no
// longer frozen.
func (g *gate) through(do func()) {
	if g.frozen {
		g.waiting = append(g.waiting, do)
		return
	}
	do()
}

func (g *gate) freeze(on bool) {
	g.frozen = on
	if !on {
		waiting := g.waiting
		g.waiting = nil
		for _, do := range waiting {
			do()
		}
	}
}

// ControllerChange freezes ("freeze") and thaws ("thaw") services of the
// controllers; an empty field leaves one as it is.
type ControllerChange struct {
	// Conductor: requests that Nova accepts meanwhile are carried out when it is back
	// (case H).
	Conductor string `json:"conductor,omitempty"`
	// Scheduler: the conductor waits a minute for its answer. Then the instance stays in
	// rebuilding and its record accepted, without an error (case I).
	Scheduler string `json:"scheduler,omitempty"`
	// Database is the cell's. Work that nova-computes and the conductor are about to write
	// in that moment stays for ever as it is, whether or not the guest is there.
	Database string `json:"database,omitempty"`
}

// ChangeControllers does something to the controllers' services.
func (c *Cloud) ChangeControllers(change ControllerChange) error {
	defer c.lock()()
	for what, to := range map[string]string{"conductor": change.Conductor, "scheduler": change.Scheduler, "database": change.Database} {
		if !slices.Contains([]string{"", "freeze", "thaw"}, to) {
			return fmt.Errorf("%s: %q is neither freeze nor thaw", what, to)
		}
	}
	if change.Conductor != "" {
		c.conductor.freeze(change.Conductor == "freeze")
	}
	if change.Scheduler != "" {
		c.scheduler.freeze(change.Scheduler == "freeze")
	}
	if change.Database != "" {
		c.away = change.Database == "freeze"
	}
	return nil
}

// DatabaseIsAway reports whether the cell's database is frozen. Nova then answers 500.
func (c *Cloud) DatabaseIsAway() bool {
	defer c.look()()
	return c.away
}

// event is something that happens at a time. events is a heap of events, ordered by time
// and then by their creation.
type event struct {
	at    time.Time
	order int
	do    func()
}
type events []event

func (e events) Len() int      { return len(e) }
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e events) Less(i, j int) bool {
	if !e[i].at.Equal(e[j].at) {
		return e[i].at.Before(e[j].at)
	}
	return e[i].order < e[j].order
}
func (e *events) Push(x any) { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func byName(a, b *host) int { return strings.Compare(a.name, b.name) }
