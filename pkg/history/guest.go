package history

import (
	"slices"
	"strings"

	"github.com/nova-evac/nova-evac/pkg/nova"
)

// Guest is a guest of an instance that Nova may not know of.
//
// The end of a rebuild is lost when the cell's database is away in that moment: the guest runs
// on the destination, and Nova has the instance on the source still. Sent elsewhere, the
// instance would run twice; sent there again, the hypervisor finds the guest.
type Guest struct {
	State GuestState
	// Host is where the guest may be, empty where there is none.
	Host string
	// Exists is true where the hypervisor has said that the guest is there
	// (nova/exception.py, InstanceExists).
	Exists bool
}

// GuestState is whether there may be a guest, and what can be done about it.
type GuestState int

const (
	// NoGuest: there is none, or none is known of.
	NoGuest GuestState = iota
	// GuestInReach: the scheduler gives instances to its host, so that the instance can be sent
	// there again.
	GuestInReach
	// GuestOutOfReach: its host cannot be used, and nothing says that the guest is dead.
	GuestOutOfReach
	// GuestDead: its host is forced down and has not taken the evacuation since, or Nova lists
	// no such host.
	GuestDead
)

// guest is where an instance may have a guest: the destination of the last evacuation whose
// record does not say how it ended. That may be one from before the fencing, and, for records
// cross, an older one than one that is accepted.
func (r *reader) guest(i Instance) Guest {
	g := Guest{Exists: strings.HasSuffix(strings.TrimSuffix(i.Server.Fault, "."), "already exists")}
	var last Evacuation
	for _, e := range i.Evacuations {
		may := (e.Source == r.Host || r.claimedForAnother(e, i)) && e.Dest != "" && r.mayHaveGuest(e, i, g.Exists || overtaken(i.Server))
		if may && (last.ID == 0 || e.Updated.After(last.Updated)) {
			last = e
		}
	}
	if g.Host = last.Dest; g.Host == "" {
		return g
	}
	g.State = r.reach(last)
	return g
}

// overtaken answers whether the last rebuild of an instance has failed because somebody else had
// changed its task, after its guest was started (nova/compute/manager.py, the last save of
// _do_rebuild_instance; exception.UnexpectedTaskStateError). A message that a host finds at
// its start does that.
func overtaken(s nova.Server) bool {
	return strings.HasPrefix(s.Fault, "Conflict updating instance ") && strings.Contains(s.Fault, "Expected: {'task_state': ['rebuild_spawning']}")
}

// reach is what can be done about the guest that an evacuation may have left.
func (r *reader) reach(e Evacuation) GuestState {
	service, listed := r.services[e.Dest]
	switch {
	case !listed:
		return GuestDead
	case Usable(service):
		return GuestInReach
	case !service.ForcedDown || r.takenAfterFencing(e):
		return GuestOutOfReach
	}
	return GuestDead
}

// mayHaveGuest answers whether an evacuation may have left a guest on its destination. left is
// true where the instance's fault says so of one that has failed.
func (r *reader) mayHaveGuest(e Evacuation, i Instance, left bool) bool {
	over := left || i.Server.VMState == vmError
	switch e.Status {
	case nova.StatusFailed:
		return left
	case nova.StatusPreMigrating:
		// Without an error as well: the database went away after the task had been cleared, and
		// before the host was changed.
		return over || i.lately(e)
	case nova.StatusCompleted:
		// Its source's nova-compute was started, whatever had become of the evacuation.
		if !over && i.lately(e) {
			return !e.Course.Taken.IsZero() && !e.Course.Over()
		}
		return over && !e.Course.Over() && (i.Last != nil || !e.Course.Taken.IsZero() || r.crossed(i))
	}
	return false
}

// claimedForAnother answers whether a record of an evacuation from another host is the one that
// an evacuation from this host was given: a destination claims the first accepted record of
// the instance, be it one that was left over on another host.
func (r *reader) claimedForAnother(e Evacuation, i Instance) bool {
	return e.Source != r.Host && e.Dest != r.Host && slices.ContainsFunc(i.Evacuations, func(own Evacuation) bool {
		return own.Source == r.Host && own.untaken() && own.Dest == "" && !e.Updated.Before(own.Created)
	})
}

// lately answers whether an evacuation was begun shortly before the fencing, and none since.
func (i Instance) lately(e Evacuation) bool {
	return i.Last == nil && e.Created.After(i.fenced.at.Add(-againTime))
}

// crossed answers whether an evacuation of the instance was begun somewhere and has no end,
// while its own record names no destination: the record of another one does.
func (r *reader) crossed(i Instance) bool {
	return slices.ContainsFunc(i.Evacuations, func(e Evacuation) bool {
		return e.Source == r.Host && e.Dest == "" && !e.Course.Taken.IsZero() && !e.Course.Over()
	})
}
