// Package novasim is a simulated OpenStack cloud: as much of Keystone, Nova and
// placement as an evacuation touches, behaving as Nova 26.2 was seen to behave,
// with faults on demand, and with one thing that no real cloud has: it knows the
// truth, and can say whether an instance was lost, sent twice or ran on two hosts.
//
// Cloud is the state machine. It is driven by calls and by the clock that it was
// given, and starts no goroutine: what is due happens before the next call looks.
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

// Config is what a cloud is made of.
type Config struct {
	// Hosts are the compute hosts, all up and enabled.
	Hosts []string
	// RebuildTime is how long a destination works on one instance, give or take a
	// tenth; RebuildLimit how many it works on at once (max_concurrent_builds), 0 for 10.
	RebuildTime  time.Duration
	RebuildLimit int
	// ScheduleTime is how long the conductor and the scheduler take.
	ScheduleTime time.Duration
	// ServiceDownTime is after how long without a heartbeat a service is down.
	ServiceDownTime time.Duration
	// TokenLifetime is how long a token is valid.
	TokenLifetime time.Duration
	// MaxMicroversion is the highest that Nova speaks; Zed's is 2.93.
	MaxMicroversion string
	// PageLimit is osapi_max_limit.
	PageLimit int
	// Latency is added to every request.
	Latency                 time.Duration
	User, Password, Project string
	Seed                    uint64
	// Now is the clock; nil is the wall clock.
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	c.RebuildLimit = cmp.Or(c.RebuildLimit, 10)
	c.ServiceDownTime = cmp.Or(c.ServiceDownTime, time.Minute)
	c.TokenLifetime = cmp.Or(c.TokenLifetime, time.Hour)
	c.MaxMicroversion = cmp.Or(c.MaxMicroversion, "2.93")
	c.PageLimit = cmp.Or(c.PageLimit, 1000)
	c.User, c.Password, c.Project = cmp.Or(c.User, "admin"), cmp.Or(c.Password, "secret"), cmp.Or(c.Project, "admin")
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Cloud is the simulated cloud. It is safe for concurrent use.
type Cloud struct {
	mu         sync.Mutex
	cfg        Config
	rand       *rand.Rand
	due        events
	order      int
	hosts      map[string]*host
	instances  map[string]*instance
	migrations []*migration
	attempts   []*attempt
	tokens     map[string]time.Time
	faults     []*fault
	counts     map[string]int
	requests   []Request
	breaches   []Breach
	ids        int
}

type host struct {
	name, id, hypervisor string
	power, compute       bool
	boot                 int // rises whenever nova-compute starts: what ran before is gone
	lastBeat             time.Time
	enabled, forcedDown  bool
	reason               string
	updated              time.Time
	guests, disks        map[string]bool // running guests, and what of a guest is on disk
	rebuilding           int
	waiting              []func(time.Time) // rebuilds that wait for a slot of RebuildLimit
	queue                []*attempt
	rebuildTime          time.Duration
	claimDelay           time.Duration
	fail                 string
	failCount            int
	hang                 bool
}

type instance struct {
	id, name, host     string
	vmState, taskState string
	fault              string
	created, updated   time.Time
	deleted            bool
	before             string // vm_state when its evacuation was accepted
	accepted           int
	ranOn              []string
	allocations        map[string]bool // by host
}

type migration struct {
	id                   int
	uuid, instance       string
	source, dest, status string
	created, updated     time.Time
}

// attempt is one accepted evacuation on its way through Nova.
type attempt struct {
	instance *instance
	dest     *host
	boot     int
	record   *migration
	over     bool
}

// events is a heap of what is due, in the order of time and of scheduling.
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

// New makes a cloud.
func New(cfg Config) *Cloud {
	cfg = cfg.withDefaults()
	c := &Cloud{cfg: cfg, rand: rand.New(rand.NewPCG(cfg.Seed, 0)), hosts: map[string]*host{}, instances: map[string]*instance{},
		tokens: map[string]time.Time{}, counts: map[string]int{}}
	for _, name := range cfg.Hosts {
		c.hosts[name] = &host{name: name, id: c.uuid(), hypervisor: c.uuid(), power: true, compute: true, enabled: true,
			lastBeat: cfg.Now(), updated: cfg.Now(), guests: map[string]bool{}, disks: map[string]bool{}}
	}
	return c
}

// uuid is random, but the same for the same seed.
func (c *Cloud) uuid() string {
	a, b := c.rand.Uint64(), c.rand.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x", a>>32, a>>16&0xffff, a&0xfff, b>>52, b&0xffffffffffff)
}

// lock takes the cloud to the present and locks it.
func (c *Cloud) lock() {
	c.mu.Lock()
	for now := c.cfg.Now(); len(c.due) > 0 && !c.due[0].at.After(now); {
		heap.Pop(&c.due).(event).do()
	}
}

// after schedules do. An event may come to pass later than it is due, when nobody
// looked meanwhile; what follows from it counts from when it was due.
func (c *Cloud) after(from time.Time, d time.Duration, do func(at time.Time)) {
	at := from.Add(d)
	c.order++
	heap.Push(&c.due, event{at, c.order, func() { do(at) }})
}

// AddInstances makes n instances that run on a host, and returns their ids.
func (c *Cloud) AddInstances(n int, on, name, vmState string) ([]string, error) {
	c.lock()
	defer c.mu.Unlock()
	h := c.hosts[on]
	if h == nil {
		return nil, fmt.Errorf("no host %s", on)
	}
	var ids []string
	for range n {
		i := &instance{id: c.uuid(), name: fmt.Sprintf("%s-%d", cmp.Or(name, "vm"), len(c.instances)+1), host: on, vmState: cmp.Or(vmState, "active"),
			created: c.cfg.Now(), updated: c.cfg.Now(), ranOn: []string{on}, allocations: map[string]bool{on: true}}
		c.instances[i.id] = i
		h.guests[i.id], h.disks[i.id] = true, true
		ids = append(ids, i.id)
	}
	return ids, nil
}

// up is Nova's view of a service: forced_down rules, else the heartbeat's age does.
func (c *Cloud) up(h *host) bool {
	return !h.forcedDown && (h.compute || c.cfg.Now().Sub(h.lastBeat) < c.cfg.ServiceDownTime)
}

// refusal is an answer other than success.
type refusal struct {
	code    int
	message string
}

func refuse(code int, format string, args ...any) *refusal {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

// evacuate accepts or refuses (nova/compute/api.py, evacuate). Since Nova 26 the
// task_state is not looked at: a second evacuation in flight is accepted.
func (c *Cloud) evacuate(id, target string) *refusal {
	i := c.instances[id]
	switch {
	case i == nil || i.deleted:
		return refuse(404, "Instance %s could not be found.", id)
	case target != "" && c.hosts[target] == nil:
		return refuse(404, "Compute host %s not found.", target)
	case target == i.host:
		return refuse(400, "The target host can't be the same one.")
	}
	if !slices.Contains([]string{"active", "stopped", "error"}, i.vmState) {
		return refuse(409, "Cannot 'evacuate' instance %s while it is in vm_state %s", id, i.vmState)
	}
	source := c.hosts[i.host]
	if c.up(source) {
		return refuse(400, "Compute service of %s is still in use.", source.name)
	}
	now := c.cfg.Now()
	if source.power {
		c.breach(id, "was evacuated from %s, which has power", source.name)
	}
	for _, a := range c.attempts {
		if a.instance == i && !a.over && (a.dest == nil || a.dest.power && a.dest.boot == a.boot) {
			c.breach(id, "was sent while an evacuation of it was under way (to %s)", destName(a))
		}
	}
	i.accepted++
	if i.taskState == "" {
		i.before = i.vmState
	}
	i.taskState, i.updated = "rebuilding", now
	c.migrations = append(c.migrations, &migration{id: len(c.migrations) + 1, uuid: c.uuid(), instance: id,
		source: i.host, status: "accepted", created: now})
	a := &attempt{instance: i}
	c.attempts = append(c.attempts, a)
	c.after(now, c.cfg.ScheduleTime, func(at time.Time) { c.schedule(a, target, at) })
	return nil
}

func destName(a *attempt) string {
	if a.dest == nil {
		return "a host to be chosen"
	}
	return a.dest.name
}

// schedule is the conductor: it takes the instance's first accepted record, which
// need not be this attempt's, and casts to the destination without waiting.
func (c *Cloud) schedule(a *attempt, target string, at time.Time) {
	i := a.instance
	for _, m := range c.migrations {
		if m.instance == i.id && m.status == "accepted" && (a.record == nil) {
			a.record = m
		}
	}
	if i.deleted || a.record == nil {
		a.over = true
		return
	}
	var dest *host
	for _, h := range c.byName() {
		load := func(h *host) int { return len(h.guests) + h.rebuilding + len(h.waiting) + len(h.queue) }
		if h.name != i.host && h.enabled && c.up(h) && (target == "" || h.name == target) && (dest == nil || load(h) < load(dest)) {
			dest = h
		}
	}
	if dest == nil {
		a.over = true
		a.record.status, a.record.updated = "error", at
		i.vmState, i.taskState, i.updated = "error", "", at
		i.fault = "No valid host was found. There are not enough hosts available."
		return
	}
	i.allocations[dest.name] = true
	a.dest, a.boot = dest, dest.boot
	if !dest.compute {
		dest.queue = append(dest.queue, a) // the message waits until somebody consumes it
		return
	}
	c.receive(a, at)
}

// receive is the destination taking the message: a slot, then the claim.
func (c *Cloud) receive(a *attempt, at time.Time) {
	h := a.dest
	a.boot = h.boot
	begin := func(at time.Time) { c.after(at, h.claimDelay, func(at time.Time) { c.claim(a, at) }) }
	if h.rebuilding >= c.cfg.RebuildLimit {
		h.waiting = append(h.waiting, begin)
		return
	}
	h.rebuilding++
	begin(at)
}

// dead answers whether the nova-compute that worked on an attempt is gone.
func (a *attempt) dead() bool { return a.dest.boot != a.boot || !a.dest.compute }

func (c *Cloud) claim(a *attempt, at time.Time) {
	if a.dead() {
		return
	}
	i := a.instance
	if i.deleted || i.taskState != "rebuilding" { // expected_task_state=REBUILDING is not met
		c.end(a, "failed", at)
		return
	}
	a.record.dest, a.record.status, a.record.updated = a.dest.name, "pre-migrating", at
	i.taskState, i.updated = "rebuild_spawning", at
	took := cmp.Or(a.dest.rebuildTime, c.cfg.RebuildTime)
	if tenth := int64(took / 10); tenth > 0 {
		took += time.Duration(c.rand.Int64N(2*tenth) - tenth)
	}
	c.after(at, took, func(at time.Time) { c.spawned(a, at) })
}

// settleTime is the moment in which an instance has no task any more while its
// host is still the source (seen on Nova 26.2).
const settleTime = 20 * time.Millisecond

func (c *Cloud) spawned(a *attempt, at time.Time) {
	h, i := a.dest, a.instance
	switch {
	case a.dead():
		return
	case h.hang:
		c.after(at, 100*time.Millisecond, func(at time.Time) { c.spawned(a, at) })
		return
	case h.fail != "" && h.failCount != 0:
		if h.failCount > 0 {
			h.failCount--
		}
		c.end(a, "failed", at)
		i.vmState, i.taskState, i.fault, i.updated = "error", "", h.fail, at
		delete(i.allocations, h.name)
		return
	}
	h.guests[i.id], h.disks[i.id] = true, true
	i.ranOn = append(i.ranOn, h.name)
	for _, other := range c.byName() {
		if other != h && other.guests[i.id] {
			c.breach(i.id, "runs on %s and on %s", other.name, h.name)
		}
	}
	if i.deleted { // the guest is orphaned on the destination (case J)
		c.end(a, "failed", at)
		return
	}
	i.vmState, i.taskState, i.updated = i.before, "", at
	if i.vmState == "error" || i.vmState == "" {
		i.vmState = "active"
	}
	c.after(at, settleTime, func(at time.Time) {
		if a.dead() {
			return
		}
		delete(i.allocations, i.host)
		i.host, i.fault, i.updated = h.name, "", at
		c.end(a, "done", at)
	})
}

// end closes an attempt with a status of its record, and lets the next one in.
func (c *Cloud) end(a *attempt, status string, at time.Time) {
	a.over = true
	a.record.status, a.record.updated = status, at
	if h := a.dest; len(h.waiting) > 0 {
		next := h.waiting[0]
		h.waiting = h.waiting[1:]
		next(at)
	} else {
		h.rebuilding--
	}
}

// SetPower cuts a host's power or gives it back. Without power nova-compute is
// dead, guests are gone, their disks stay.
func (c *Cloud) SetPower(name string, on bool) error {
	c.lock()
	defer c.mu.Unlock()
	h := c.hosts[name]
	if h == nil {
		return fmt.Errorf("no host %s", name)
	}
	if h.power == on {
		return nil
	}
	h.power = on
	if !on {
		c.stopCompute(h)
		h.guests = map[string]bool{}
		return nil
	}
	c.startCompute(h)
	return nil
}

// SetCompute starts or kills a host's nova-compute; its guests live on.
func (c *Cloud) SetCompute(name string, run bool) error {
	c.lock()
	defer c.mu.Unlock()
	h := c.hosts[name]
	switch {
	case h == nil:
		return fmt.Errorf("no host %s", name)
	case run && !h.power:
		return fmt.Errorf("host %s has no power", name)
	case run && !h.compute:
		c.startCompute(h)
	case !run:
		c.stopCompute(h)
	}
	return nil
}

func (c *Cloud) stopCompute(h *host) {
	if h.compute {
		h.lastBeat = c.cfg.Now()
	}
	h.compute = false
	h.rebuilding, h.waiting = 0, nil
}

// startCompute is init_host: what was evacuated from here is destroyed, whether it
// has arrived elsewhere or not, and its records become completed
// (nova/compute/manager.py, _destroy_evacuated_instances). Then the messages that
// waited in the queue are taken (case C).
func (c *Cloud) startCompute(h *host) {
	now := c.cfg.Now()
	h.compute, h.lastBeat = true, now
	h.boot++
	for _, m := range c.migrations {
		if m.source == h.name && (m.status == "accepted" || m.status == "pre-migrating" || m.status == "done") {
			m.status, m.updated = "completed", now
			delete(h.guests, m.instance)
			delete(h.disks, m.instance)
		}
	}
	queue := h.queue
	h.queue = nil
	for _, a := range queue {
		c.receive(a, now)
	}
}

func (c *Cloud) byName() []*host {
	hosts := make([]*host, 0, len(c.hosts))
	for _, h := range c.hosts {
		hosts = append(hosts, h)
	}
	slices.SortFunc(hosts, func(a, b *host) int { return strings.Compare(a.name, b.name) })
	return hosts
}

// setService is PUT /os-services/{id} (nova/api/openstack/compute/services.py).
func (c *Cloud) setService(id string, status, reason *string, forcedDown *bool) (*host, *refusal) {
	var h *host
	for _, candidate := range c.hosts {
		if candidate.id == id {
			h = candidate
		}
	}
	if h == nil {
		return nil, refuse(404, "Service %s not found.", id)
	}
	if status == nil && forcedDown == nil {
		return nil, refuse(400, "No updates were requested. Fields 'status' or 'forced_down' should be specified.")
	}
	if status != nil {
		h.enabled = *status == "enabled"
		h.reason = ""
		if reason != nil {
			h.reason = *reason
		}
	}
	if forcedDown != nil {
		if h.forcedDown && !*forcedDown {
			for _, m := range c.migrations {
				if m.source == h.name && m.status == "done" {
					return nil, refuse(400, "Unable to force up host '%s' as 'done' evacuation migration records remain associated with the host. "+
						"Ensure the compute service has been restarted, allowing these records to move to 'completed' before retrying this request.", h.name)
				}
			}
		}
		h.forcedDown = *forcedDown
	}
	h.updated = c.cfg.Now()
	return h, nil
}

// delete removes an instance, whatever is being done to it.
func (c *Cloud) delete(id string) *refusal {
	i := c.instances[id]
	if i == nil || i.deleted {
		return refuse(404, "Instance %s could not be found.", id)
	}
	i.deleted = true
	if h := c.hosts[i.host]; h.compute {
		delete(h.guests, id)
		delete(h.disks, id)
	}
	return nil
}

// Breach is something that must never happen.
type Breach struct {
	Instance string    `json:"instance"`
	What     string    `json:"what"`
	At       time.Time `json:"at"`
}

func (c *Cloud) breach(instance, format string, args ...any) {
	c.breaches = append(c.breaches, Breach{instance, fmt.Sprintf(format, args...), c.cfg.Now()})
}

// Report is the truth about the cloud.
type Report struct {
	// Breaches are all so far: an evacuation accepted from a host with power, or
	// while another one could still go through, a guest on two hosts, and instances
	// of which nothing is left anywhere.
	Breaches []Breach `json:"breaches"`
	// Instances counts those that were not deleted.
	Instances int `json:"instances"`
	// Evacuated counts those that run on another host than they were made on.
	Evacuated int `json:"evacuated"`
	// InProgress counts those with a task.
	InProgress int `json:"in_progress"`
	// OnHost counts instances by the host on which their guest is.
	OnHost map[string]int `json:"on_host"`
	// MostAccepted is the most evacuations that Nova accepted for one instance.
	MostAccepted int `json:"most_accepted"`
}

// Check tells the truth.
func (c *Cloud) Check() Report {
	c.lock()
	defer c.mu.Unlock()
	r := Report{Breaches: slices.Clone(c.breaches), OnHost: map[string]int{}}
	if r.Breaches == nil {
		r.Breaches = []Breach{}
	}
	for _, i := range c.instances {
		if i.deleted {
			continue
		}
		r.Instances++
		r.MostAccepted = max(r.MostAccepted, i.accepted)
		if i.taskState != "" {
			r.InProgress++
		}
		left := false
		for _, h := range c.hosts {
			left = left || h.disks[i.id]
			if h.guests[i.id] {
				r.OnHost[h.name]++
			}
		}
		switch {
		case !left:
			r.Breaches = append(r.Breaches, Breach{i.id, "nothing is left of it on any host", c.cfg.Now()})
		case i.host != i.ranOn[0] && i.taskState == "" && c.hosts[i.host].guests[i.id]:
			r.Evacuated++
		}
	}
	return r
}
