package formerly

import (
	"slices"
	"strings"
	"time"

	"github.com/nova-evac/nova-evac/pkg/nova"
)

// againTime is how long before a fencing the evacuation of an earlier one may have begun
// that is taken for the last that befell an instance.
const againTime = time.Hour

// destination names where an instance is to be sent, and nothing where the choice is the
// scheduler's. Whose evacuation was under way on a host until an operator said that it is
// stuck may have a guest there, which nobody in Nova knows of: the destination's end of it
// is lost when the cell's database is away for that moment. Sent elsewhere, it would run
// twice; sent there again, the hypervisor finds the guest.
func destination(server nova.Server, past past, plan Plan, s Situation) string {
	if svc, known := find(s.Snapshot.Services, stuckOn(server, past, s).Dest); known && usable(svc) {
		return svc.Host
	}
	return elsewhere(past.own, plan, s)
}

// usable answers whether the scheduler gives instances to a host.
func usable(svc nova.Service) bool { return svc.Up && svc.Enabled }

// stuckOn is the evacuation on whose destination an instance may have a guest that Nova does
// not know of: the last one whose record does not say how it ended. It may be one of
// an earlier generation, and, for records cross, an older one than one that is accepted.
func stuckOn(server nova.Server, past past, s Situation) nova.Migration {
	exists := hasGuest(server)
	over := exists || server.VMState == "error"
	var last nova.Migration
	for _, m := range past.all {
		may := false
		switch course := s.Snapshot.Courses[m.ID]; m.Status {
		case nova.StatusFailed:
			may = exists
		case nova.StatusPreMigrating:
			// Without an error as well: the database went away after the task had been cleared,
			// and before the host was changed.
			may = over || len(past.own) == 0 && m.Created.After(s.Since.Add(s.Skew-againTime))
		case nova.StatusCompleted:
			// Its source's nova-compute was started, whatever had become of the evacuation.
			may = over && course.Ended.IsZero() && !course.Failed && (len(past.own) > 0 || !course.Taken.IsZero() || past.crossed(s))
		}
		if m.Source == s.Host && m.Dest != "" && may && (last.ID == 0 || m.Updated.After(last.Updated)) {
			last = m
		}
	}
	return last
}

// crossed answers whether an evacuation of the instance was begun somewhere and has no end,
// while its own record names no destination: the record of another one does.
func (p past) crossed(s Situation) bool {
	return slices.ContainsFunc(p.all, func(m nova.Migration) bool {
		course := s.Snapshot.Courses[m.ID]
		return m.Source == s.Host && m.Dest == "" && !course.Taken.IsZero() && course.Ended.IsZero() && !course.Failed
	})
}

// hasGuest answers whether an instance's last rebuild failed because its hypervisor has a
// guest of it already (nova/exception.py, InstanceExists).
func hasGuest(server nova.Server) bool {
	return strings.HasSuffix(strings.TrimSuffix(server.Fault, "."), "already exists")
}

// elsewhere names another destination for an instance whose last rebuild failed on
// one: left to itself the scheduler goes for the emptiest host, which is the one on
// which every rebuild fails. Nova still asks the scheduler whether the host will do
// (2.29 on). Where all have been tried, the choice is the scheduler's again.
func elsewhere(history []nova.Migration, plan Plan, s Situation) string {
	tried := map[string]bool{}
	for _, m := range history {
		if unsuccessful(m) {
			tried[m.Dest] = true
		}
	}
	if len(history) == 0 || history[0].Dest == "" || !tried[history[0].Dest] {
		return ""
	}
	load := map[string]int{}
	for _, i := range plan.Instances {
		load[i.Dest]++
	}
	for _, send := range plan.Send {
		load[send.Dest]++
	}
	best := ""
	for _, svc := range s.Snapshot.Services {
		if usable(svc) && svc.Host != s.Host && !tried[svc.Host] && (best == "" || load[svc.Host] < load[best]) {
			best = svc.Host
		}
	}
	return best
}
