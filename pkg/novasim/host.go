package novasim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nova-evac/nova-evac/pkg/nova"
)

// host is a compute host: the machine, its nova-compute, and Nova's service record.
type host struct {
	name            string
	number          int // the service's id below microversion 2.53
	id, hypervisor  string
	power           bool
	compute         bool      // nova-compute takes messages and sends heartbeats
	draining        bool      // it was told to stop, and finishes its rebuilds first
	boot            int       // rises whenever nova-compute starts
	resume          bool      // nova-compute starts the guests that its host has lost
	lastBeat        time.Time // of the nova-compute before this one
	firstBeat       time.Time // of this one, when it is due
	enabled, forced bool
	reason          string
	updated         time.Time

	guests, disks map[string]bool // running guests, and guests' disks
	allocated     map[string]bool // placement's allocations, by instance
	rebuilding    int             // slots taken
	waiting       []func()        // rebuilds that wait for a slot
	hung          []func()
	queue         []func() // messages that nobody takes while nova-compute is dead

	rebuildTime, claimDelay time.Duration
	fail                    string
	failLeft                int // how many rebuilds are still to fail; negative: all
	hang                    bool
	capacity                int
}

func (c *Cloud) host(name string) *host {
	at, found := slices.BinarySearchFunc(c.hosts, name, func(h *host, name string) int { return strings.Compare(h.name, name) })
	if !found {
		return nil
	}
	return c.hosts[at]
}

// AddHost makes a compute host, up and enabled.
func (c *Cloud) AddHost(name string) error {
	defer c.lock()()
	if name == "" || c.host(name) != nil {
		return fmt.Errorf("host %q is there already, or has no name", name)
	}
	c.addHost(name)
	return nil
}

func (c *Cloud) addHost(name string) {
	if c.host(name) != nil {
		return
	}
	c.hosts = append(c.hosts, &host{name: name, number: len(c.hosts) + 1, id: UUID(c.ids), hypervisor: UUID(c.ids), power: true, compute: true,
		resume: c.cfg.ResumeGuests, enabled: true, lastBeat: c.now, firstBeat: c.now, updated: c.now, guests: map[string]bool{}, disks: map[string]bool{}, allocated: map[string]bool{}})
	slices.SortFunc(c.hosts, byName)
}

// HostChange changes a host; a nil or empty field leaves a thing as it is.
type HostChange struct {
	// Power is on or off. Off kills nova-compute and all guests; their disks stay. On
	// starts nova-compute, unless Compute is held.
	Power string `json:"power,omitempty"`
	// Compute is start, stop (nova-compute finishes its rebuilds first, as after a
	// SIGTERM), kill, or held.
	Compute string `json:"compute,omitempty"`
	// RebuildTime and ClaimDelay are the host's own; "0s" is the cloud's again.
	RebuildTime string `json:"rebuild_time,omitempty"`
	ClaimDelay  string `json:"claim_delay,omitempty"`
	// Fail is the message with which rebuilds fail, empty for none; FailCount how
	// many do, by default all.
	Fail      *string `json:"fail,omitempty"`
	FailCount int     `json:"fail_count,omitempty"`
	// Hang makes rebuilds wait at their end for as long as it is true.
	Hang *bool `json:"hang,omitempty"`
	// ResumeGuests is resume_guests_state_on_host_boot of the host's nova.conf, read when
	// nova-compute starts.
	ResumeGuests *bool `json:"resume_guests,omitempty"`
	// Capacity is the number of instances for which the scheduler finds room, 0 for any.
	Capacity *int `json:"capacity,omitempty"`
}

// ChangeHost changes a host. It refuses a change as a whole if any part of it is impossible.
func (c *Cloud) ChangeHost(name string, change HostChange) error {
	defer c.lock()()
	h := c.host(name)
	if h == nil {
		return fmt.Errorf("no host %s", name)
	}
	rebuildTime, err := ParseDuration(change.RebuildTime, h.rebuildTime)
	if err != nil {
		return fmt.Errorf("rebuild_time: %w", err)
	}
	claimDelay, err := ParseDuration(change.ClaimDelay, h.claimDelay)
	if err != nil {
		return fmt.Errorf("claim_delay: %w", err)
	}
	if err := change.check(h); err != nil {
		return err
	}
	h.rebuildTime, h.claimDelay = rebuildTime, claimDelay
	if change.Fail != nil {
		h.fail, h.failLeft = *change.Fail, -1
		if change.FailCount > 0 {
			h.failLeft = change.FailCount
		}
	}
	if change.Capacity != nil {
		h.capacity = *change.Capacity
	}
	if change.ResumeGuests != nil {
		h.resume = *change.ResumeGuests
	}
	if change.Hang != nil {
		h.setHang(*change.Hang)
	}
	c.changePower(h, change)
	c.changeCompute(h, change.Compute)
	return nil
}

// check refuses what is no change, or is impossible on a host.
func (change HostChange) check(h *host) error {
	power := h.power && change.Power == "" || change.Power == "on"
	switch {
	case !slices.Contains([]string{"", "on", "off"}, change.Power):
		return fmt.Errorf("power: %q is neither on nor off", change.Power)
	case !slices.Contains([]string{"", "start", "stop", "kill", "held"}, change.Compute):
		return fmt.Errorf("compute: %q is none of start, stop, kill, held", change.Compute)
	case change.Compute == "start" && !power:
		return fmt.Errorf("host %s has no power", h.name)
	case change.Compute == "start" && h.draining && change.Power != "off":
		return fmt.Errorf("nova-compute of %s is still stopping", h.name)
	}
	return nil
}

func (h *host) setHang(on bool) {
	h.hang = on
	if on {
		return
	}
	hung := h.hung
	h.hung = nil
	for _, goOn := range hung {
		goOn()
	}
}

func (c *Cloud) changePower(h *host, change HostChange) {
	switch {
	case change.Power == "off" && h.power:
		h.power = false
		c.killCompute(h)
		h.guests = map[string]bool{}
	case change.Power == "on" && !h.power:
		h.power = true
		if change.Compute == "" {
			c.startCompute(h)
		}
	}
}

func (c *Cloud) changeCompute(h *host, to string) {
	switch to {
	case "start":
		c.startCompute(h)
	case "kill":
		c.killCompute(h)
	case "stop":
		if h.compute {
			h.lastBeat = c.beat(h)
			h.compute, h.draining = false, h.rebuilding > 0
		}
	}
}

// ParseDuration reads a duration of the control API. An empty text leaves it as it was; a
// negative duration is an error.
func ParseDuration(text string, was time.Duration) (time.Duration, error) {
	if text == "" {
		return was, nil
	}
	d, err := time.ParseDuration(text)
	if err == nil && d < 0 {
		return 0, fmt.Errorf("%s is negative", text)
	}
	return d, err
}

// killCompute ends nova-compute. The rebuilds that it worked on stay as they are for ever:
// nothing in Nova takes them up again (case B).
func (c *Cloud) killCompute(h *host) {
	h.lastBeat = c.beat(h)
	h.compute, h.draining = false, false
	h.boot++ // nor does it come up any more where it was about to
	h.rebuilding, h.waiting, h.hung = 0, nil, nil
}

// startCompute is init_host. It destroys the guests that were evacuated from here, and starts
// those that the host has lost where nova.conf says so. Afterwards nova-compute takes the
// messages that waited in the queue (case C).
func (c *Cloud) startCompute(h *host) {
	if h.compute {
		return
	}
	if c.away { // it comes up when it can read its evacuation records
		h.boot++
		boot := h.boot
		c.after(time.Second, func() {
			if h.boot == boot {
				c.startCompute(h)
			}
		})
		return
	}
	// nova/service.py starts the heartbeats after init_host, five seconds later.
	h.compute, h.firstBeat = true, c.now.Add(min(firstBeat, c.cfg.ReportInterval/2))
	h.boot++
	c.destroyEvacuated(h)
	if h.resume {
		c.resumeGuests(h)
	}
	queue := h.queue
	h.queue = nil
	for _, take := range queue {
		take()
	}
}

// destroyEvacuated destroys the guests that were evacuated from a host, whether they have
// arrived elsewhere or not, and makes their records completed. Of several records of one
// instance only the newest becomes completed, because Nova keeps them in a dict by instance
// (nova/compute/manager.py, _destroy_evacuated_instances). An older record is left for the
// next start, and may then destroy a guest that has come back (case N).
func (c *Cloud) destroyEvacuated(h *host) {
	newest := map[string]*migration{}
	for _, m := range c.migrations {
		if m.Source == h.name && (m.open() || m.Status == nova.StatusDone) {
			newest[m.of.id] = m
		}
	}
	for _, m := range c.migrations {
		if newest[m.of.id] != m {
			continue
		}
		delete(h.guests, m.of.id)
		delete(h.disks, m.of.id)
		if !m.of.deleted { // of a deleted instance Nova does not get that far
			delete(h.allocated, m.of.id)
			c.set(m, nova.StatusCompleted)
		}
	}
}

// resumeGuests is the start of nova-compute with resume_guests_state_on_host_boot. It boots
// each instance that Nova has on the host and that ran when the host lost its power, even if
// it is evacuated a moment later (nova/compute/manager.py, _init_instance). An instance in
// error is left.
func (c *Cloud) resumeGuests(h *host) {
	for _, i := range c.instances {
		if i.host == h.name && !i.deleted && i.taskState != "deleting" && h.disks[i.id] && !h.guests[i.id] && (i.vmState == "active" || i.vmState == "rescued") {
			c.run(i, h, SplitBrain)
		}
	}
}

// run starts a guest of an instance on a host. If another guest of it runs elsewhere, that is
// a breach.
func (c *Cloud) run(i *instance, h *host, harm string) {
	h.guests[i.id], h.disks[i.id] = true, true
	i.ranOn = append(i.ranOn, h.name)
	delete(i.replayedOn, h.name)
	if harm == Replayed {
		i.replayedOn[h.name] = true
	}
	on := c.guestsOf(i)
	if i.deleted || len(on) < 2 {
		return
	}
	// The guest that such a message made may be there first.
	if slices.ContainsFunc(on, func(host string) bool { return i.replayedOn[host] }) {
		harm = Replayed
	}
	c.breach(harm, i, "runs on %s", strings.Join(on, " and on "))
}

// cast gives a message to a host's nova-compute: at once, or when it runs again. A
// nova-compute that is stopping still fetches messages, which are lost with it (seen on
// Nova 26.2, case K).
func (h *host) cast(take func()) (lost bool) {
	switch {
	case h.compute:
		take()
	case h.draining:
		return true
	default:
		h.queue = append(h.queue, take)
	}
	return false
}
