package novasim

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/nova-evac/nova-evac/pkg/nova"
)

// attempt is one accepted evacuation on its way through Nova.
type attempt struct {
	instance *instance
	target   string // the destination that was asked for
	forced   bool   // and without asking the scheduler (2.29 to 2.67)
	vmState  string // of the instance when it was accepted
	record   *migration
	action   *action
	event    *ActionEvent

	stage       stage
	sent, taken time.Time // when it was sent to its destination, and when that took it
	dest        *host
	boot        int      // which nova-compute of dest works on it
	then        []func() // to be called at its end
}

type stage int

const (
	scheduling stage = iota // conductor and scheduler
	queued                  // a message that the destination has not taken
	working                 // at the destination
	over
)

// running reports whether the nova-compute that took an attempt still runs.
func (a *attempt) running() bool {
	return a.dest.boot == a.boot && (a.dest.compute || a.dest.draining)
}

// canProceed reports whether an attempt may still bring up a guest. An attempt that waits in
// the queue of a host without power, or of one that was forced down, does not count: the
// sender of another one cannot know better.
func (a *attempt) canProceed() bool {
	switch a.stage {
	case scheduling:
		return true
	case queued:
		return a.dest.power && !a.dest.forced
	case working:
		return a.running()
	default:
		return false
	}
}

func (a *attempt) where() string {
	if a.dest == nil {
		return "a host yet to be chosen"
	}
	return a.dest.name
}

// Evacuate accepts the evacuation of an instance or refuses it (nova/compute/api.py,
// evacuate). Without a target the scheduler chooses. Forced asks no scheduler (2.29 to 2.67).
// Request is the id of the request, for the instance's actions. Since Nova 26 the task_state
// does not matter: a second evacuation in flight is accepted (case A).
func (c *Cloud) Evacuate(id, target string, forced bool, request string) error {
	defer c.lock()()
	i, err := c.instance(id)
	if err == nil {
		err = c.mayEvacuate(i, target, forced)
	}
	if err != nil {
		return err
	}
	if source := c.host(i.host); source.guests[i.id] {
		c.breach(SourceAlive, i, "evacuated from %s, where its guest still runs", source.name)
	}
	for _, a := range i.attempts {
		if a.canProceed() {
			c.breach(DoubleSend, i, "sent again while an evacuation of it was under way, to %s", a.where())
			break
		}
	}
	i.taskState, i.updated = "rebuilding", c.now
	m := &migration{of: i, Migration: Migration{ID: len(c.migrations) + 1, UUID: UUID(c.rand), Instance: i.id, Source: i.host, Dest: target,
		Status: nova.StatusAccepted, Created: c.now}}
	c.migrations = append(c.migrations, m)
	a := &attempt{instance: i, target: target, forced: forced, vmState: i.vmState, record: m, action: c.act(i, request, "evacuate")}
	i.attempts = append(i.attempts, a)
	c.after(c.cfg.ScheduleTime, func() { c.conductor.through(func() { c.conduct(a) }) })
	return nil
}

// mayEvacuate is Nova's refusal of an evacuation, nil for none.
func (c *Cloud) mayEvacuate(i *instance, target string, forced bool) error {
	switch {
	case forced && target == "":
		return Refuse(400, "Can't force to a non-provided destination")
	case target != "" && c.host(target) == nil:
		return Refuse(404, "Compute host %s not found.", target)
	case target == i.host: // both are None for an instance without a host
		return Refuse(400, "The target host can't be the same one.")
	}
	if err := wrongState(i, "evacuate", []string{"active", "stopped", "error"}, false); err != nil {
		return err
	}
	if c.up(c.host(i.host)) {
		return Refuse(400, "Compute service of %s is still in use.", i.host)
	}
	return nil
}

// oldest is the instance's first accepted record or, where there is none, the attempt's own:
// the conductor asks the database for any accepted record, and gets the first
// (nova/db/main/api.py, migration_get_by_instance_and_status). The message to the
// destination carries this record. So a message that waits for a dead destination and one
// that is sent elsewhere meanwhile carry the same record, and the second attempt's own
// record stays accepted for ever (seen on Nova 26.2, case C).
func (c *Cloud) oldest(a *attempt) *migration {
	for _, m := range c.migrations {
		if m.of == a.instance && m.Status == nova.StatusAccepted {
			return m
		}
	}
	return a.record
}

// conduct is the conductor: it asks the scheduler, and casts to the destination
// without waiting for it (nova/conductor/manager.py, rebuild_instance).
func (c *Cloud) conduct(a *attempt) {
	i := a.instance
	if i.deleted {
		c.fail(a, "")
		return
	}
	if c.away {
		c.lose(a)
		return
	}
	a.record = c.oldest(a)
	e := c.begin(a.action, "rebuild_server", "controller")
	if c.scheduler.frozen && !a.forced {
		// Nova never takes the instance up again. The only trace is an error in its event.
		c.after(c.cfg.RPCTimeout, func() {
			if a.stage == scheduling {
				a.stage = over
				c.finish(a.action, e, "MessagingTimeout")
			}
		})
		c.scheduler.waiting = append(c.scheduler.waiting, func() {
			if a.stage == scheduling {
				c.schedule(a, e)
			}
		})
		return
	}
	c.schedule(a, e)
}

// schedule sends an attempt to a destination, or ends it where there is none.
func (c *Cloud) schedule(a *attempt, e *ActionEvent) {
	i := a.instance
	if i.deleted {
		c.fail(a, "")
		return
	}
	dest := c.host(a.target)
	if !a.forced {
		dest = c.choose(i, a.target)
	}
	if dest == nil {
		const message = "No valid host was found. There are not enough hosts available."
		c.set(a.record, nova.StatusError)
		i.err(c, "", message)
		c.finish(a.action, e, message)
		a.stage = over
		return
	}
	c.finish(a.action, e, "")
	dest.allocated[i.id] = true
	a.dest, a.stage, a.sent = dest, queued, c.now
	if dest.cast(func() { c.take(a) }) {
		a.stage = over
	}
}

// choose is the scheduler: of the services that are up and enabled, but not the
// source, the one with the fewest instances.
func (c *Cloud) choose(i *instance, target string) *host {
	var best *host
	for _, h := range c.hosts {
		switch {
		case h.name == i.host, !h.enabled, !c.up(h), target != "" && h.name != target:
		case c.groupIsOn(h, i):
		case h.capacity > 0 && len(h.allocated) >= h.capacity && !h.allocated[i.id]:
		case best == nil || len(h.allocated) < len(best.allocated):
			best = h
		}
	}
	return best
}

// groupIsOn reports whether another instance of the same server group is on a host, or
// headed for it.
func (c *Cloud) groupIsOn(h *host, i *instance) bool {
	return i.group != "" && slices.ContainsFunc(c.instances, func(other *instance) bool {
		return other != i && other.group == i.group && !other.deleted && h.allocated[other.id]
	})
}

// take makes the destination take the message; it may have to wait for a slot.
func (c *Cloud) take(a *attempt) {
	h := a.dest
	a.stage, a.boot, a.taken = working, h.boot, c.now
	if c.cfg.RebuildLimit > 0 && h.rebuilding >= c.cfg.RebuildLimit {
		h.waiting = append(h.waiting, func() { c.claim(a) })
		return
	}
	c.claim(a)
}

// claim makes the record the destination's.
func (c *Cloud) claim(a *attempt) {
	h, i := a.dest, a.instance
	for _, other := range i.attempts {
		if other != a && other.event != nil && other.stage == working && other.dest == h && other.running() {
			// Both got here: the later one finds the guest that the first one made (case H).
			other.then = append(other.then, func() { c.claim(a) })
			return
		}
	}
	h.rebuilding++
	if c.away {
		c.lose(a)
		return
	}
	a.record.Dest = h.name
	c.set(a.record, nova.StatusPreMigrating)
	a.event = c.begin(a.action, "compute_rebuild_instance", h.name)
	if h.guests[i.id] {
		c.exists(a)
		return
	}
	c.later(a, cmp.Or(h.claimDelay, c.cfg.ClaimDelay), func() {
		if c.save(a, "rebuilding", "rebuild_block_device_mapping", "rebuilding") {
			c.settle(a, func() {
				if c.save(a, "rebuild_block_device_mapping", "rebuild_spawning", "rebuild_spawning") {
					c.later(a, c.rebuildTime(h), func() { c.spawn(a) })
				}
			})
		}
	})
}

func (c *Cloud) rebuildTime(h *host) time.Duration {
	took := cmp.Or(h.rebuildTime, c.cfg.RebuildTime)
	if tenth := int64(took / 10); tenth > 0 {
		took += time.Duration(c.rand.Int64N(2*tenth+1) - tenth)
	}
	return took
}

// later is the destination's next step, if it is still alive by then.
func (c *Cloud) later(a *attempt, d time.Duration, step func()) {
	c.after(d, func() {
		if a.running() {
			step()
		}
	})
}

// settle is the destination's next write, if it is still alive and the database is there.
func (c *Cloud) settle(a *attempt, write func()) {
	c.later(a, c.cfg.SettleTime, func() {
		if c.away {
			c.lose(a)
			return
		}
		write()
	})
}

// save changes the task as Nova does: only where the task is the expected one. If it is not,
// somebody else is at work on the instance, and the attempt ends. Nova then writes vm_state
// error. It also writes the task that it could not write before, because that is still
// marked as changed. So the instance is stuck in rebuilding with vm_state error (seen on
// Nova 26.2, cases A and C).
func (c *Cloud) save(a *attempt, expected, next, leftOver string) bool {
	i := a.instance
	if c.away {
		c.lose(a)
		return false
	}
	if i.deleted {
		c.fail(a, fmt.Sprintf("Instance %s could not be found.", i.id))
		return false
	}
	if i.taskState == expected {
		i.taskState, i.updated = next, c.now
		return true
	}
	actual := "None"
	if i.taskState != "" {
		actual = "'" + i.taskState + "'"
	}
	message := fmt.Sprintf("Conflict updating instance %s. Expected: {'task_state': ['%s']}. Actual: {'task_state': %s}", i.id, expected, actual)
	c.fail(a, message)
	i.err(c, leftOver, message)
	return false
}

// spawn makes the guest appear at the destination.
func (c *Cloud) spawn(a *attempt) {
	h, i := a.dest, a.instance
	switch {
	case h.hang:
		h.hung = append(h.hung, func() { c.later(a, 0, func() { c.spawn(a) }) })
		return
	case h.fail != "" && h.failLeft != 0:
		if h.failLeft > 0 {
			h.failLeft--
		}
		c.fail(a, h.fail)
		i.err(c, "", h.fail)
		return
	case h.guests[i.id]:
		c.exists(a)
		return
	}
	harm := SplitBrain
	if a.taken.Sub(a.sent) > longQueued {
		harm = Replayed
	}
	c.run(i, h, harm)
	if !c.save(a, "rebuild_spawning", "", "") {
		return
	}
	i.vmState = a.vmState
	if i.vmState == "error" {
		i.vmState = "active"
	}
	// The host changes only after the task has gone: an absent task is no completion.
	c.settle(a, func() {
		if i.deleted {
			c.fail(a, fmt.Sprintf("Instance %s could not be found.", i.id))
			return
		}
		i.host, i.updated = h.name, c.now
		c.settle(a, func() {
			// The destination overwrites the status that the source has written (case F).
			c.set(a.record, nova.StatusDone)
			i.arrivals++
			c.end(a, "")
		})
	})
}

// exists makes the hypervisor refuse a guest that it has already (case H).
func (c *Cloud) exists(a *attempt) {
	message := fmt.Sprintf("Instance %s already exists.", a.instance.name)
	c.fail(a, message)
	a.instance.err(c, "", message)
	a.dest.allocated[a.instance.id] = a.dest.guests[a.instance.id] // the other attempt's
}

// lose ends an attempt whose result cannot be written, neither success nor failure (seen on
// Nova 26.2).
func (c *Cloud) lose(a *attempt) {
	a.event = nil // goes on for ever
	c.end(a, "")
}

// fail ends an attempt whose record becomes failed.
func (c *Cloud) fail(a *attempt, message string) {
	if c.away {
		c.lose(a)
		return
	}
	c.set(a.record, nova.StatusFailed)
	if a.dest != nil {
		delete(a.dest.allocated, a.instance.id)
	}
	c.end(a, message)
}

func (i *instance) err(c *Cloud, task, message string) {
	if c.away {
		return
	}
	i.failed = true
	i.vmState, i.taskState, i.updated = "error", task, c.now
	i.fault, i.faultAt = message, c.now
}

// end closes an attempt, and lets the next one into the destination.
func (c *Cloud) end(a *attempt, failure string) {
	atWork := a.stage == working
	a.stage = over
	if a.event != nil {
		c.finish(a.action, a.event, failure)
	}
	if !atWork {
		return
	}
	h := a.dest
	h.rebuilding--
	for _, next := range a.then {
		next()
	}
	if len(h.waiting) > 0 {
		next := h.waiting[0]
		h.waiting = h.waiting[1:]
		next()
	} else if h.rebuilding == 0 { // a stop has waited for this
		h.draining = false
	}
}
