package evacuate

import "github.com/nova-evac/nova-evac/pkg/history"

// destination names where an instance is to be sent, and nothing where the choice is the
// scheduler's. One that may have a guest which Nova does not know of goes to that guest's
// host: sent elsewhere, it would run twice.
func destination(of history.Instance, plan Plan, s Situation) string {
	if g := s.guest(of); g.State == history.GuestInReach {
		return g.Host
	}
	return elsewhere(of, plan, s)
}

// elsewhere names another destination for an instance whose last rebuild failed on
// one: left to itself the scheduler goes for the emptiest host, which is the one on
// which every rebuild fails. Nova still asks the scheduler whether the host will do
// (2.29 on). One that will not do costs nothing, and the choice is the scheduler's again; so
// it is where all have been tried.
//
// Only hosts in the zone of the one on which it failed are named: those in other zones do
// not fit where the instance was asked for in a zone, and nothing shows whether it was.
func elsewhere(of history.Instance, plan Plan, s Situation) string {
	tried := of.Tried()
	if of.Last == nil || of.Last.Dest == "" || !tried[of.Last.Dest] || of.Unfit() {
		return ""
	}
	failed, _ := s.History.ServiceOf(of.Last.Dest)
	load := map[string]int{}
	for _, i := range plan.Instances {
		load[i.Dest]++
	}
	for _, send := range plan.Send {
		load[send.Dest]++
	}
	best := ""
	for _, host := range s.History.Destinations() {
		service, _ := s.History.ServiceOf(host)
		if service.Zone == failed.Zone && !tried[host] && (best == "" || load[host] < load[best]) {
			best = host
		}
	}
	return best
}
