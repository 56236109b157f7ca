package formerly

import (
	"fmt"
	"slices"

	"github.com/nova-evac/nova-evac/pkg/nova"
)

// Source is what is known of the power of the host that is being evacuated. It decides
// whether anything may be sent from the host: Nova evacuates an instance whose guest runs
// there as readily as any other, and the guest then runs twice (seen on Nova 26.2).
type Source int

const (
	// SourceOff: nothing says that the host is on.
	SourceOff Source = iota
	// SourceGated: the host is on, and a gate that runs there holds its nova-compute back.
	SourceGated
	// SourceUnsure: there was a sign of life that may be none. Nothing is begun until it is
	// known.
	SourceUnsure
	// SourceOn: the host is on, and nothing attests that its nova-compute is held back.
	SourceOn
	// SourceRuns: its nova-compute was seen to run.
	SourceRuns
)

// Safe answers whether instances may be sent from the host: none that Nova has there can
// run there.
func (s Source) Safe() bool { return s == SourceOff || s == SourceGated }

// On answers whether the host is on, with nothing before its nova-compute.
func (s Source) On() bool { return s == SourceOn || s == SourceRuns }

// heardSince answers whether Nova has heard from the host's nova-compute after the fencing,
// and was not told that the host is down. The host was on again then, unseen by us, and
// runs what it has. It is not forced down any more: it may have been let in.
func heardSince(service nova.Service, s Situation) bool {
	return !service.ForcedDown && !service.Partial && service.Updated.After(s.Since.Add(s.Skew+clockMargin))
}

// nothingLeft answers whether a host that was back before anything was evacuated, or that
// was let in, is as if it had never been fenced: it is up, none of its instances may be
// down with it, and no evacuation of it is short of its end. Whether an instance that is
// active runs there Nova does not know: it takes up to ten minutes to notice that a guest
// is off (nova/conf/compute.py, sync_power_state_interval).
func nothingLeft(service nova.Service, s Situation) bool {
	if !service.Up || s.Beat != nova.Alive {
		return false
	}
	return !slices.ContainsFunc(s.Snapshot.Servers, func(server nova.Server) bool { return amiss(server) || mayBeOff(server, s) }) &&
		!slices.ContainsFunc(s.Snapshot.Evacuations, func(m nova.Migration) bool {
			return m.Source == s.Host && (m.Status == nova.StatusDone || m.Open() && m.Status != nova.StatusCompleted)
		})
}

// mayBeOff answers whether an instance ran on the host when that lost its power. One that
// was changed since was in somebody's hands since.
func mayBeOff(server nova.Server, s Situation) bool {
	return server.VMState != "stopped" && !server.Updated.After(s.Since.Add(s.Skew+clockMargin))
}

// amiss answers whether an instance needs somebody to look after it.
func amiss(server nova.Server) bool {
	return server.Partial || server.TaskState != "" || server.VMState == "error"
}

// explainReturned says why nothing is done about a host that Nova has heard of since.
func explainReturned(plan Plan, s Situation) string {
	service := plan.Service
	if !service.Up {
		return fmt.Sprintf("an operator: Nova has heard from nova-compute of %s after the fencing (%s), and nobody told Nova that the host is down; its instances may run there. "+
			"If it is off, say so: 'openstack compute service set --down %[1]s nova-compute'", service.Host, clock(service.Updated))
	}
	var names []string
	for _, server := range s.Snapshot.Servers {
		if amiss(server) || mayBeOff(server, s) {
			names = append(names, server.Name)
		}
	}
	what := fmt.Sprintf("%s is up, and nobody has it forced down", service.Host)
	if len(names) > 0 {
		return fmt.Sprintf("an operator: %s; Nova has %d instances there: see that they run (%s), then 'nova-evac admit %s'",
			what, len(s.Snapshot.Servers), abridged(names), service.Host)
	}
	return "its heartbeats to go on: " + what
}

// abridged names a few.
func abridged(names []string) string {
	const most = 3
	if len(names) <= most {
		return join(names)
	}
	return fmt.Sprintf("%s and %d more", join(names[:most]), len(names)-most)
}
