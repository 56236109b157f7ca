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

// Live answers whether the node is a member that works: it is online, the cluster is
// sure of its state, and it has joined.
func (n Node) Live() bool { return n.Online && !n.Unclean && !n.Pending }

// OwnerState is what the cluster says of the owner of a record.
type OwnerState int

// The states of an owner. In the last two it can no longer act, so that another one may
// take its place.
const (
	// OwnerNodeUnknown: the cluster knows no such node, so nobody can say whether it is dead.
	OwnerNodeUnknown OwnerState = iota
	// OwnerNodeUnfenced: the node is offline and not fenced, so the owner may be alive.
	OwnerNodeUnfenced
	// OwnerNodeUnsure: the node is joining, or is to be fenced.
	OwnerNodeUnsure
	// OwnerInShell: the node is live, and the owner is a shell, of which Pacemaker knows nothing.
	OwnerInShell
	// OwnerRuns: the node is live, and its supervisor runs.
	OwnerRuns
	// OwnerNodeGone: the node is offline and clean: it was fenced, or left in good order.
	OwnerNodeGone
	// OwnerStopped: the node is live, and no supervisor runs there.
	OwnerStopped
)

// Owner says what the cluster knows of the owner of a record.
func (v View) Owner(owner string) OwnerState {
	node, shell := record.OwnerNode(owner)
	n, known := v.Nodes[node]
	switch {
	case !known:
		return OwnerNodeUnknown
	case n.Live():
		return v.onLiveNode(node, shell)
	case !n.Online && n.Unclean:
		return OwnerNodeUnfenced
	case !n.Online && !n.Pending:
		return OwnerNodeGone
	}
	return OwnerNodeUnsure
}

func (v View) onLiveNode(node string, shell bool) OwnerState {
	switch {
	case shell:
		return OwnerInShell
	case v.Supervisors[node]:
		return OwnerRuns
	}
	return OwnerStopped
}

// Gone answers whether the owner can no longer act.
func (s OwnerState) Gone() bool { return s == OwnerNodeGone || s == OwnerStopped }

// Runs answers whether the owner is on a live node, and nothing is amiss with it as far as
// the cluster knows.
func (s OwnerState) Runs() bool { return s == OwnerRuns || s == OwnerInShell }

// Explain says what the state of owner means, and what an operator can do where the owner
// is not gone.
func (s OwnerState) Explain(owner string) string {
	node, _ := record.OwnerNode(owner)
	switch s {
	case OwnerNodeUnknown:
		return fmt.Sprintf("owner %s: the cluster knows no node %s, so nobody can say whether it is dead; "+
			"if it is, say so with 'nova-evac resume' and the name of the host", owner, node)
	case OwnerNodeUnfenced:
		return fmt.Sprintf("owner %s: its node is offline but not fenced, so it may be alive; "+
			"have it fenced, or confirm that it is off with 'stonith_admin --confirm=%s'", owner, node)
	case OwnerNodeUnsure:
		return fmt.Sprintf("owner %s: its node is joining or to be fenced, its state is not known yet", owner)
	case OwnerInShell:
		return fmt.Sprintf("owner %s: a nova-evac in a shell on %s; if it is dead, its host is taken over by the supervisor on %s "+
			"or by 'nova-evac host' there", owner, node, node)
	case OwnerRuns:
		return "its supervisor runs"
	case OwnerNodeGone:
		return "its node is offline and clean"
	default:
		return "no supervisor runs on its node any more"
	}
}
