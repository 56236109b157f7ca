package novasim

import (
	"cmp"
	"slices"
	"time"
)

// Server is an instance as Nova shows it.
type Server struct {
	ID, Name string
	// Host is empty where Nova knows none.
	Host string
	// TaskState is empty for none.
	VMState, TaskState string
	// Status is the API's name of the two.
	Status string
	// HostStatus is UP, MAINTENANCE or DOWN, and empty without a host.
	HostStatus string
	// PowerState is the guest's last known one; on a dead host it stays as it is (seen on
	// Nova 26.2).
	PowerState int
	// Fault is the message of the last fault, and FaultAt when it came. Nova shows them while
	// Status is ERROR.
	Fault            string
	FaultAt          time.Time
	Locked           bool
	Created, Updated time.Time
}

func (c *Cloud) server(i *instance) Server {
	s := Server{ID: i.id, Name: i.name, Host: i.host, VMState: i.vmState, TaskState: i.taskState, Status: i.status(), HostStatus: c.hostStatus(i),
		PowerState: i.powerState(), Locked: i.locked, Created: i.created, Updated: i.updated}
	if s.Status == "ERROR" {
		s.Fault, s.FaultAt = i.fault, i.faultAt
	}
	return s
}

// Servers gives the instances that Nova has on a host, or all where host is empty, oldest
// first.
func (c *Cloud) Servers(host string) []Server {
	defer c.look()()
	var servers []Server
	for _, i := range c.instances {
		if !i.deleted && (host == "" || host == i.host) {
			servers = append(servers, c.server(i))
		}
	}
	return servers
}

// Server gives one instance.
func (c *Cloud) Server(id string) (Server, error) {
	defer c.look()()
	i, err := c.instance(id)
	if err != nil {
		return Server{}, err
	}
	return c.server(i), nil
}

func (c *Cloud) instance(id string) (*instance, error) {
	if i := c.byID[id]; i != nil && !i.deleted {
		return i, nil
	}
	return nil, notFound(id)
}

func notFound(id string) error { return Refuse(404, "Instance %s could not be found.", id) }

// statuses are the API's names of states (nova/api/openstack/common.py, _STATE_MAP).
var statuses = map[string]string{"active": "ACTIVE", "stopped": "SHUTOFF", "building": "BUILD", "rescued": "RESCUE", "resized": "VERIFY_RESIZE",
	"soft-delete": "SOFT_DELETED", "paused": "PAUSED", "suspended": "SUSPENDED", "error": "ERROR", "shelved": "SHELVED", "shelved_offloaded": "SHELVED_OFFLOADED"}

func (i *instance) status() string {
	switch i.taskState {
	case "rebuilding", "rebuild_block_device_mapping", "rebuild_spawning":
		if slices.Contains([]string{"active", "stopped", "error"}, i.vmState) {
			return "REBUILD"
		}
	}
	return cmp.Or(statuses[i.vmState], "UNKNOWN")
}

func (i *instance) powerState() int {
	switch i.vmState {
	case "stopped", "shelved", "shelved_offloaded":
		return 4
	case "error":
		if i.failed {
			return 0
		}
	case "paused":
		return 3
	case "building":
		return 0
	}
	return 1
}

func (c *Cloud) hostStatus(i *instance) string {
	h := c.host(i.host)
	switch {
	case h == nil:
		return ""
	case !c.up(h): // forced down or silent: nova/compute/api.py, get_instance_host_status
		return "DOWN"
	case !h.enabled:
		return "MAINTENANCE"
	}
	return "UP"
}

// wrongState is Nova's 409 (nova/api/openstack/common.py,
// raise_http_conflict_for_instance_invalid_state), nil if the state will do.
func wrongState(i *instance, what string, vmStates []string, idle bool) error {
	if !slices.Contains(vmStates, i.vmState) {
		return Refuse(409, "Cannot '%s' instance %s while it is in vm_state %s", what, i.id, i.vmState)
	}
	if idle && i.taskState != "" {
		return Refuse(409, "Cannot '%s' instance %s while it is in task_state %s", what, i.id, i.taskState)
	}
	return nil
}

// ask does something to an instance, and lists it among the instance's actions, if it is not
// refused. Without the id of a request it is not listed.
func (c *Cloud) ask(id, request, name string, do func(i *instance) error) error {
	defer c.lock()()
	i, err := c.instance(id)
	if err == nil {
		err = do(i)
	}
	if err == nil && request != "" {
		c.act(i, request, name)
	}
	return err
}

// Stop is os-stop. The host takes the message or, if it is dead, finds it when it is back.
// It ignores the message if the instance was evacuated meanwhile.
//
// Here and below request is the id of the request, for the instance's actions; without one
// nothing is listed there.
func (c *Cloud) Stop(id, request string) error {
	return c.ask(id, request, "stop", func(i *instance) error {
		if err := wrongState(i, "stop", []string{"active", "rescued", "error"}, true); err != nil {
			return err
		}
		return c.turn(i, "powering-off", "stopped")
	})
}

// Start is os-start. A guest that lost its power with its host comes back from disk.
func (c *Cloud) Start(id, request string) error {
	return c.ask(id, request, "start", func(i *instance) error {
		if err := wrongState(i, "start", []string{"stopped"}, true); err != nil {
			return err
		}
		return c.turn(i, "powering-on", "active")
	})
}

// Pause pauses a guest.
func (c *Cloud) Pause(id, request string) error {
	return c.hold(id, request, "pause", "pausing", "paused")
}

// Suspend suspends a guest.
func (c *Cloud) Suspend(id, request string) error {
	return c.hold(id, request, "suspend", "suspending", "suspended")
}

func (c *Cloud) hold(id, request, what, task, vmState string) error {
	return c.ask(id, request, what, func(i *instance) error {
		if err := wrongState(i, what, []string{"active"}, true); err != nil {
			return err
		}
		return c.turn(i, task, vmState)
	})
}

// Rescue boots an instance from a rescue image.
func (c *Cloud) Rescue(id, request string) error {
	return c.ask(id, request, "rescue", func(i *instance) error {
		if err := wrongState(i, "rescue", []string{"active", "stopped", "error"}, true); err != nil {
			return err
		}
		return c.turn(i, "rescuing", "rescued")
	})
}

// Shelve takes an instance off its host, at once as with shelved_offload_time=0, Nova's
// default.
func (c *Cloud) Shelve(id, request string) error {
	return c.ask(id, request, "shelve", func(i *instance) error {
		if err := wrongState(i, "shelve", []string{"active", "stopped", "paused", "suspended"}, true); err != nil {
			return err
		}
		return c.leave(i, "shelving", func() { i.vmState, i.host = "shelved_offloaded", "" })
	})
}

// Migrate is a cold migration to a host, whose end the user has to confirm.
func (c *Cloud) Migrate(id, target, request string) error {
	return c.ask(id, request, "migrate", func(i *instance) error {
		if err := wrongState(i, "migrate", []string{"active", "stopped"}, true); err != nil {
			return err
		}
		to := c.host(target)
		switch {
		case to == nil:
			return Refuse(400, "Compute host %s could not be found.", target)
		case target == i.host:
			return Refuse(400, "The target host can't be the same one.")
		}
		return c.leave(i, "resize_prep", func() {
			i.vmState, i.host = "resized", to.name
			to.guests[i.id], to.disks[i.id], to.allocated[i.id] = true, true, true
			i.ranOn = append(i.ranOn, to.name)
		})
	})
}

// Lock keeps the user, but not the administrator, from an instance.
func (c *Cloud) Lock(id, request string) error {
	return c.ask(id, request, "lock", func(i *instance) error { i.locked = true; return nil })
}

// Unlock takes Lock back.
func (c *Cloud) Unlock(id, request string) error {
	return c.ask(id, request, "unlock", func(i *instance) error { i.locked = false; return nil })
}

// ResetState is os-resetState: it writes to the database, and asks no nova-compute
// (nova/api/openstack/compute/admin_actions.py).
func (c *Cloud) ResetState(id, vmState, request string) error {
	return c.ask(id, request, "resetState", func(i *instance) error {
		if vmState != "active" && vmState != "error" {
			return Refuse(400, "Invalid input for field/attribute state. Value: %s. '%[1]s' is not one of ['active', 'error']", vmState)
		}
		i.vmState, i.taskState, i.updated = vmState, "", c.now
		return nil
	})
}

// leave makes an instance's host give it up, and then calls a function.
func (c *Cloud) leave(i *instance, task string, then func()) error {
	return c.onHost(i, task, func(h *host) {
		delete(h.guests, i.id)
		delete(h.disks, i.id)
		delete(h.allocated, i.id)
		then()
	})
}

func (c *Cloud) turn(i *instance, task, vmState string) error {
	return c.onHost(i, task, func(h *host) {
		i.vmState = vmState
		if vmState == "active" && h.disks[i.id] {
			h.guests[i.id] = true
		}
	})
}

// onHost makes an instance's host do a task, when the host is there.
func (c *Cloud) onHost(i *instance, task string, do func(h *host)) error {
	h := c.host(i.host)
	if h == nil {
		return Refuse(409, "Instance %s is not ready", i.id)
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

// Delete deletes an instance. Where its host is down, Nova deletes the row by itself, even
// while the instance is evacuated (case J). Where the host is dead but Nova does not know
// yet, the message waits for the host, and an evacuation that comes in between resurrects
// the instance until the host is back (case P).
func (c *Cloud) Delete(id string) error {
	return c.ask(id, "", "delete", func(i *instance) error {
		h := c.host(i.host)
		if h == nil || !c.up(h) {
			c.drop(i)
			return nil
		}
		i.taskState, i.updated = "deleting", c.now
		h.cast(func() {
			delete(h.guests, i.id)
			delete(h.disks, i.id)
			c.drop(i)
		})
		return nil
	})
}

func (c *Cloud) drop(i *instance) {
	i.deleted, i.taskState, i.updated = true, "", c.now
	for _, h := range c.hosts {
		delete(h.allocated, i.id)
	}
}
