// Package cluster answers who is a member of the cluster, who has been fenced,
// and on which nodes nova-evac's supervisor runs. It decides nothing by a clock:
// a node is dead when Pacemaker says so.
package cluster

import (
	"fmt"

	"github.com/nova-evac/nova-evac/pkg/record"
)

// View is the cluster as one of its nodes sees it at one moment.
type View struct {
	// Quorum is true where this node's partition may act.
	Quorum bool
	// Maintenance is true while the whole cluster is in maintenance mode.
	Maintenance bool
	// Nodes holds full members and remote nodes by name.
	Nodes map[string]Node
	// Supervisors holds the names of the nodes on which Pacemaker has an instance
	// of the nova-evacuate resource, be it running, failed or not yet stopped.
	Supervisors map[string]bool
}

// Node is one node's state in Pacemaker's words.
type Node struct {
	Online bool
	// Unclean: Pacemaker cannot be sure of the node's state and wants to fence it;
	// until then it may be alive.
	Unclean bool
	// Pending: the node is joining, what runs on it is not known yet.
	Pending bool
	Remote  bool
}

// Gone answers whether an owner can no longer act, so that another one may take
// its place: its node is offline and clean (fenced, or left in good order), or
// the node is a member and no supervisor runs there. why says what the answer
// rests on, and what an operator can do where it is no.
func (v View) Gone(owner string) (gone bool, why string) {
	node, shell := record.OwnerNode(owner)
	n, known := v.Nodes[node]
	switch {
	case !known:
		return false, fmt.Sprintf("owner %s: the cluster knows no node %s, so nobody can say whether it is dead; "+
			"if it is, run 'nova-evac host' on any controller", owner, node)
	case !n.Online && n.Unclean:
		return false, fmt.Sprintf("owner %s: its node is offline but not fenced, so it may be alive; "+
			"have it fenced, or confirm that it is off with 'stonith_admin --confirm=%s'", owner, node)
	case !n.Online && !n.Pending:
		return true, "its node is offline and clean"
	case n.Pending || n.Unclean:
		return false, fmt.Sprintf("owner %s: its node is joining or to be fenced, its state is not known yet", owner)
	case shell:
		return false, fmt.Sprintf("owner %s: a nova-evac in a shell on %s; if it is dead, its host is taken over by the supervisor on %s "+
			"or by 'nova-evac host' there", owner, node, node)
	case v.Supervisors[node]:
		return false, "its supervisor runs"
	}
	return true, "no supervisor runs on its node any more"
}
