package novasim

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// instance is an instance as Nova's database has it.
type instance struct {
	id, name, group    string
	host               string // "" where Nova knows none
	vmState, taskState string
	fault              string
	faultAt            time.Time
	locked             bool
	failed             bool // a rebuild of it has failed, which takes its power_state along
	deleted            bool
	created, updated   time.Time

	attempts []*attempt // its accepted evacuations
	actions  []*action
	arrivals int
	ranOn    []string
	// replayedOn holds the hosts on which a message that was found long after it was sent has made
	// its guest, see Replayed.
	replayedOn map[string]bool
}

// action is a row of os-instance-actions, with its events.
type action struct {
	request, name    string
	started, updated time.Time
	failed           bool
	events           []*actionEvent
}

type actionEvent struct {
	name, host        string
	started, finished time.Time
	result            string // Success, Error, or "" while it goes on
	details           string
}

func (c *Cloud) act(i *instance, request, name string) *action {
	a := &action{request: request, name: name, started: c.now, updated: c.now}
	i.actions = append(i.actions, a)
	return a
}

func (c *Cloud) begin(a *action, name, host string) *actionEvent {
	e := &actionEvent{name: name, host: host, started: c.now}
	a.events = append(a.events, e)
	return e
}

// finish ends an event; an empty failure is success.
func (c *Cloud) finish(a *action, e *actionEvent, failure string) {
	e.finished, e.result, a.updated = c.now, "Success", c.now
	if failure != "" {
		e.result, e.details, a.failed = "Error", failure, true
	}
}

// vmStates are the states that Nova's database can hold (nova/compute/vm_states.py).
var vmStates = []string{"active", "building", "paused", "suspended", "stopped", "rescued", "resized", "soft-delete",
	"error", "shelved", "shelved_offloaded"}

// AddInstances makes instances, and returns their ids. The ids depend only on the seed and
// on the instances made before.
func (c *Cloud) AddInstances(batch Batch) ([]string, error) {
	defer c.lock()()
	if c.host(batch.Host) == nil {
		return nil, fmt.Errorf("no host %s", batch.Host)
	}
	if batch.VMState != "" && !slices.Contains(vmStates, batch.VMState) {
		return nil, fmt.Errorf("vm_state %s: Nova has %v", batch.VMState, vmStates)
	}
	return c.addInstances(batch), nil
}

func (c *Cloud) addInstances(batch Batch) []string {
	h := c.host(batch.Host)
	var ids []string
	for range max(batch.Count, 1) {
		i := &instance{id: uuid(c.ids), replayedOn: map[string]bool{}, name: fmt.Sprintf("%s-%d", cmp.Or(batch.Name, "vm"), len(c.instances)+1), host: h.name, group: batch.Group,
			vmState: cmp.Or(batch.VMState, "active"), created: c.now, updated: c.now}
		if i.vmState == "shelved_offloaded" {
			i.host = ""
		} else {
			h.guests[i.id], h.disks[i.id], h.allocated[i.id] = true, true, true
			i.ranOn = []string{h.name}
		}
		if i.vmState == "stopped" {
			c.act(i, "req-"+i.id, "stop")
		}
		c.instances = append(c.instances, i)
		c.byID[i.id] = i
		ids = append(ids, i.id)
	}
	return ids
}

func (c *Cloud) instance(id string) (*instance, *refusal) {
	if i := c.byID[id]; i != nil && !i.deleted {
		return i, nil
	}
	return nil, refuse(404, "Instance %s could not be found.", id)
}

// wrongState is Nova's 409 (nova/api/openstack/common.py,
// raise_http_conflict_for_instance_invalid_state), nil if the state will do.
func wrongState(i *instance, what string, vmStates []string, idle bool) *refusal {
	if !slices.Contains(vmStates, i.vmState) {
		return refuse(409, "Cannot '%s' instance %s while it is in vm_state %s", what, i.id, i.vmState)
	}
	if idle && i.taskState != "" {
		return refuse(409, "Cannot '%s' instance %s while it is in task_state %s", what, i.id, i.taskState)
	}
	return nil
}

// status is the API's name of a state (nova/api/openstack/common.py, _STATE_MAP).
func (i *instance) status() string {
	rebuild := i.taskState == "rebuilding" || i.taskState == "rebuild_block_device_mapping" || i.taskState == "rebuild_spawning"
	switch i.vmState {
	case "active", "stopped", "error":
		if rebuild {
			return "REBUILD"
		}
	}
	switch i.vmState {
	case "active":
		return "ACTIVE"
	case "stopped":
		return "SHUTOFF"
	case "building":
		return "BUILD"
	case "rescued":
		return "RESCUE"
	case "resized":
		return "VERIFY_RESIZE"
	case "soft-delete":
		return "SOFT_DELETED"
	case "shelved_offloaded":
		return "SHELVED_OFFLOADED"
	case "paused", "suspended", "error", "shelved":
		return map[string]string{"paused": "PAUSED", "suspended": "SUSPENDED", "error": "ERROR", "shelved": "SHELVED"}[i.vmState]
	}
	return "UNKNOWN"
}

// remove deletes an instance. Where its host is down, Nova deletes the row by itself, even
// while the instance is evacuated (case J). Where the host is dead but Nova does not know
// yet, the message waits for the host, and an evacuation that comes in between resurrects
// the instance until the host is back (case P).
func (c *Cloud) remove(i *instance) {
	h := c.host(i.host)
	if h == nil || !c.up(h) {
		c.drop(i)
		return
	}
	i.taskState, i.updated = "deleting", c.now
	h.cast(func() {
		delete(h.guests, i.id)
		delete(h.disks, i.id)
		c.drop(i)
	})
}

func (c *Cloud) drop(i *instance) {
	i.deleted, i.taskState, i.updated = true, "", c.now
	for _, h := range c.hosts {
		delete(h.allocated, i.id)
	}
}

// stop is os-stop. The host takes the message or, if it is dead, finds it when it is back.
// It ignores the message if the instance was evacuated meanwhile.
func (c *Cloud) stop(i *instance) *refusal {
	if refused := wrongState(i, "stop", []string{"active", "rescued", "error"}, true); refused != nil {
		return refused
	}
	return c.turn(i, "powering-off", "stopped")
}

// start is os-start. A guest that lost its power with its host comes back from disk.
func (c *Cloud) start(i *instance) *refusal {
	if refused := wrongState(i, "start", []string{"stopped"}, true); refused != nil {
		return refused
	}
	return c.turn(i, "powering-on", "active")
}

// hold is pause and suspend.
func (c *Cloud) hold(i *instance, what, task, vmState string) *refusal {
	if refused := wrongState(i, what, []string{"active"}, true); refused != nil {
		return refused
	}
	return c.turn(i, task, vmState)
}

func (c *Cloud) rescue(i *instance) *refusal {
	if refused := wrongState(i, "rescue", []string{"active", "stopped", "error"}, true); refused != nil {
		return refused
	}
	return c.turn(i, "rescuing", "rescued")
}

// shelve takes an instance off its host, at once as with shelved_offload_time=0, Nova's
// default.
func (c *Cloud) shelve(i *instance) *refusal {
	if refused := wrongState(i, "shelve", []string{"active", "stopped", "paused", "suspended"}, true); refused != nil {
		return refused
	}
	return c.leave(i, "shelving", func() { i.vmState, i.host = "shelved_offloaded", "" })
}

// migrate is a cold migration to a host, whose end the user has to confirm.
func (c *Cloud) migrate(i *instance, target string) *refusal {
	if refused := wrongState(i, "migrate", []string{"active", "stopped"}, true); refused != nil {
		return refused
	}
	to := c.host(target)
	switch {
	case to == nil:
		return refuse(400, "Compute host %s could not be found.", target)
	case target == i.host:
		return refuse(400, "The target host can't be the same one.")
	}
	return c.leave(i, "resize_prep", func() {
		i.vmState, i.host = "resized", to.name
		to.guests[i.id], to.disks[i.id], to.allocated[i.id] = true, true, true
		i.ranOn = append(i.ranOn, to.name)
	})
}

// leave makes an instance's host give it up, and then calls a function.
func (c *Cloud) leave(i *instance, task string, then func()) *refusal {
	return c.onHost(i, task, func(h *host) {
		delete(h.guests, i.id)
		delete(h.disks, i.id)
		delete(h.allocated, i.id)
		then()
	})
}

func (c *Cloud) turn(i *instance, task, vmState string) *refusal {
	return c.onHost(i, task, func(h *host) {
		i.vmState = vmState
		if vmState == "active" && h.disks[i.id] {
			h.guests[i.id] = true
		}
	})
}

// onHost makes an instance's host do a task, when the host is there.
func (c *Cloud) onHost(i *instance, task string, do func(h *host)) *refusal {
	h := c.host(i.host)
	if h == nil {
		return refuse(409, "Instance %s is not ready", i.id)
	}
	i.taskState, i.updated = task, c.now
	h.cast(func() {
		if i.deleted || i.host != h.name || i.taskState != task {
			return
		}
		i.taskState, i.updated = "", c.now
		do(h)
	})
	return nil
}

// resetState is os-resetState: it writes to the database, and asks no nova-compute
// (nova/api/openstack/compute/admin_actions.py).
func (c *Cloud) resetState(i *instance, vmState string) *refusal {
	if vmState != "active" && vmState != "error" {
		return refuse(400, "Invalid input for field/attribute state. Value: %s. '%[1]s' is not one of ['active', 'error']", vmState)
	}
	i.vmState, i.taskState, i.updated = vmState, "", c.now
	return nil
}

// DestroyGuest is an operator's virsh destroy and undefine of an instance's guest on a host,
// where Nova neither has the instance on that host nor has an evacuation of it under way.
func (c *Cloud) DestroyGuest(name, host string) {
	defer c.lock()()
	h := c.host(host)
	for _, i := range c.instances {
		if h != nil && i.name == name && i.host != host && i.taskState == "" {
			delete(h.guests, i.id)
			delete(h.disks, i.id)
		}
	}
}

// RebootGuests is an operator's hard reboot of the guests that are off on a host that is on.
func (c *Cloud) RebootGuests(host string) {
	defer c.lock()()
	h := c.host(host)
	for _, i := range c.instances {
		if h != nil && h.compute && i.host == host && !i.deleted && h.disks[i.id] && !h.guests[i.id] {
			c.run(i, h, SplitBrain)
		}
	}
}

// Delete deletes an instance, as its user would.
func (c *Cloud) Delete(id string) error {
	defer c.lock()()
	i, refused := c.instance(id)
	if refused != nil {
		return fmt.Errorf("%s", refused.message)
	}
	c.remove(i)
	return nil
}
