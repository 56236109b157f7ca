package supervisor

import (
	"time"

	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// turnTime is how long a supervisor leaves to each of those before it what they could do
// as well: one alone may be cut off from Nova, and not know.
const turnTime = 30 * time.Second

// turns decides which of several supervisors does what each of them could do.
type turns struct {
	// before is how many supervisors that live come before this one.
	before int
	// due is what there is to do for hosts.
	due map[string]due
}

// due is a task, and when it was first and last seen to be there.
type due struct {
	task        any // a comparable value
	since, seen time.Time
}

// mine answers whether a task for a host is up to this supervisor: to the first one at
// once, to the others if it is still not done when their turn comes.
func (t *turns) mine(host string, task any, now time.Time) bool {
	d := t.due[host]
	if d.task != task || now.Sub(d.seen) > 3*watchEvery {
		d = due{task: task, since: now}
	}
	d.seen = now
	t.due[host] = d
	return now.Sub(d.since) >= time.Duration(t.before)*turnTime
}

// supervisorsBefore is how many supervisors that live have a name that comes before that of
// owner: one is enough to look after what nobody carries.
func supervisorsBefore(owner string, view cluster.View) int {
	node, _ := record.OwnerNode(owner)
	before := 0
	for name, runs := range view.Supervisors {
		if runs && name < node && view.Nodes[name].Live() {
			before++
		}
	}
	return before
}
