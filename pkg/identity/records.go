package identity

import (
	"cmp"
	"slices"
	"strings"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// Names are the names under which a host is recorded: the plug that the fence hook was
// called with, and the cluster's name of the node.
type Names struct{ Host, Node string }

// Fit answers whether a name can be that of the host.
func (n Names) Fit(name string) bool { return n.compare(name) != noFit }

// Is answers whether a name is one of the host's, but for capitals.
func (n Names) Is(name string) bool { return n.compare(name) <= foldDomain }

func (n Names) compare(name string) fit {
	best := compare(name, n.Host, "")
	if n.Node != "" {
		// The plug goes before the node: where a host map crosses two names, it is Nova's that
		// people say.
		if f := compare(name, n.Node, ""); f != noFit {
			best = min(best, max(f, sameFold))
		}
	}
	return best
}

// Pick gives which of several recorded hosts are meant by a name: those that fit it best. Of
// two, nobody can say which.
func Pick(recorded []Names, name string) []int {
	var picked []int
	best := shortFull
	for n, names := range recorded {
		switch f := names.compare(name); {
		case f > best:
		case f < best:
			picked, best = []int{n}, f
		case f != noFit:
			picked = append(picked, n)
		}
	}
	return picked
}

// Of gives the names of a record.
func Of(r record.Record) Names { return Names{r.Host, r.Node} }

// Recorded gives the records that are meant by a name, as far as the records alone can tell.
func Recorded(all []cib.Stored, name string) []cib.Stored {
	var names []Names
	for _, r := range all {
		names = append(names, Of(r.Record))
	}
	var meant []cib.Stored
	for _, n := range Pick(names, name) {
		meant = append(meant, all[n])
	}
	return meant
}

// Plugged gives the record of the host that the fence hook is called for: the one of its plug,
// or one under another name of it, such as an operator's. A fencing is recorded under the plug
// all the same: that two names fit is no proof that they are of one host.
func Plugged(all []cib.Stored, plug, node string) (cib.Stored, bool) {
	if s, found := cib.Find(all, plug); found {
		return s, true
	}
	for _, name := range []string{plug, node} {
		if meant := Recorded(all, name); name != "" && len(meant) == 1 {
			return meant[0], true
		}
	}
	return cib.Stored{}, false
}

// Hosts gives the names under which records stand, for people to read.
func Hosts(records []cib.Stored) string {
	var names []string
	for _, r := range records {
		names = append(names, r.Host)
	}
	return strings.Join(names, ", ")
}

// Records gives the records of one of Nova's hosts. It has one, unless it was recorded under
// two names.
func (c Cloud) Records(all []cib.Stored, service nova.Service) []cib.Stored {
	return slices.DeleteFunc(slices.Clone(all), func(r cib.Stored) bool {
		m := c.Of(r.Record)
		return m.State != One || m.Service.Host != service.Host
	})
}

// ByHost gives the records of all hosts of Nova's, by Nova's names: of each host the one that
// is to be carried first.
func (c Cloud) ByHost(all []cib.Stored) map[string][]cib.Stored {
	of := map[string][]cib.Stored{}
	for _, r := range all {
		if m := c.Of(r.Record); m.State == One {
			of[m.Service.Host] = append(of[m.Service.Host], r)
		}
	}
	for _, records := range of {
		slices.SortStableFunc(records, func(a, b cib.Stored) int { return before(a.Record, b.Record) })
	}
	return of
}

// Carried answers whether of two records of one host the first is the one to be carried. It
// is the one that has an owner. Where both have, it is the earlier one, whose owner may be at
// work; where none has, the later one, which knows best how the host is.
func Carried(r, other record.Record) bool { return before(r, other) < 0 }

func before(a, b record.Record) int {
	switch {
	case a.Phase == "" || b.Phase == "": // one of them is malformed
		return cmp.Compare(b.Phase, a.Phase)
	case (a.Owner != "") != (b.Owner != ""):
		return cmp.Compare(b.Owner, a.Owner)
	case a.Owner != "":
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Host, b.Host))
	}
	return cmp.Or(b.Since.Compare(a.Since), cmp.Compare(a.Host, b.Host))
}

// NodeOf gives which of several names is that of a node of the cluster, as the cluster writes
// it: the first for which one node fits best. It is empty where the cluster knows none.
func NodeOf(nodes []string, names ...string) string {
	for _, name := range names {
		var recorded []Names
		for _, node := range nodes {
			recorded = append(recorded, Names{Host: node})
		}
		if picked := Pick(recorded, name); len(picked) == 1 {
			return nodes[picked[0]]
		}
	}
	return ""
}
