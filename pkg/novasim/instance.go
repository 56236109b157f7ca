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
		i := &instance{id: UUID(c.ids), replayedOn: map[string]bool{}, name: fmt.Sprintf("%s-%d", cmp.Or(batch.Name, "vm"), len(c.instances)+1), host: h.name, group: batch.Group,
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
