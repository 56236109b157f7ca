// Package identity says which host is meant by a name. Nova, the cluster, the fence device,
// the machine itself and the people have names of their own for one host: short or full, in
// capitals or not, by a host map, or of before a renaming. All who compare such names do it
// here, and nowhere else.
//
// The package is pure. What it cannot tell it says by a typed State, with all that would fit:
// it does not guess.
package identity

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nova-evac/nova-evac/pkg/history"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// fit is how well two names fit; less is better.
type fit int

const (
	same       fit = iota // the very name
	inDomain              // the very name with the domain that Nova's names have
	sameFold              // the same but for capitals
	foldDomain            // the same but for capitals, with that domain
	shortFull             // one is the other without its domain
	noFit
)

// compare answers how well a name fits another one. domain is the DNS domain of Nova's
// names, empty where nobody has told.
func compare(name, of, domain string) fit {
	full := name
	if domain != "" {
		full += "." + strings.TrimPrefix(domain, ".")
	}
	switch {
	case name == of:
		return same
	case full == of:
		return inDomain
	case strings.EqualFold(name, of):
		return sameFold
	case strings.EqualFold(full, of):
		return foldDomain
	}
	a, b := Short(name), Short(of)
	if strings.EqualFold(a, b) && (len(a) == len(name) || len(b) == len(of)) {
		return shortFull
	}
	return noFit
}

// Fit answers whether two names can be of one host.
func Fit(a, b string) bool { return compare(a, b, "") != noFit }

// Short is a name without its domain.
func Short(name string) string {
	short, _, _ := strings.Cut(name, ".")
	return short
}

// longSilent is how long before its fencing a nova-compute has to be silent for its service
// to count as one of the past. A host that dies is fenced within minutes.
const longSilent = time.Hour

// State says what Nova has under a name.
type State int

const (
	// Unknown: Nova knows no host of this name.
	Unknown State = iota
	// One: one host of Nova's is meant.
	One
	// Ambiguous: several fit, and nothing tells which is meant.
	Ambiguous
	// Stale: the one that fits best was silent long before the fencing, and another one that
	// fits was not: the host may have been renamed.
	Stale
)

// Match is what Nova has under a name.
type Match struct {
	State State
	// Name is the name that was looked for.
	Name string
	// Service is the one that is meant, where State is One; the one that fits best, where it is
	// Stale.
	Service nova.Service
	// Fitting are all that fit, the best first.
	Fitting []nova.Service
	// Silent is true where Service was silent long before the fencing.
	Silent bool

	all []nova.Service
}

// Cloud is what Nova says of its hosts. It is made by NewCloud.
type Cloud struct {
	// Services are Nova's, one for each host.
	Services []nova.Service
	// Clock leads to Nova's clock.
	Clock history.Clock

	domain string
	// byShort are the services by their names without domain and capitals: those of all names
	// that fit one another are the same.
	byShort map[string][]nova.Service
}

// NewCloud makes a Cloud of Nova's services. domain is the DNS domain of Nova's host names,
// where those of the cluster have none.
func NewCloud(services []nova.Service, domain string, clock history.Clock) Cloud {
	c := Cloud{Services: Distinct(services), Clock: clock, domain: domain, byShort: map[string][]nova.Service{}}
	for _, s := range c.Services {
		key := strings.ToLower(Short(s.Host))
		c.byShort[key] = append(c.byShort[key], s)
	}
	return c
}

// Named gives what Nova has under a name that nothing else is known of.
func (c Cloud) Named(name string) Match { return c.find(name, time.Time{}) }

// Fenced gives what Nova has under the name of a host that was fenced at a moment.
func (c Cloud) Fenced(name string, at time.Time) Match { return c.find(name, at) }

// Of gives what Nova has of the host of a record. The node's name says nothing of Nova's: it
// is the fence device's host map that leads from the one to the other. Where Nova was told of
// this very fencing of this very node, the host that it was told of is meant. (The time alone
// is no proof: in a storm hosts are fenced within one second.)
func (c Cloud) Of(r record.Record) Match {
	m := c.find(r.Host, r.Since)
	for _, s := range m.Fitting {
		told, ours := record.ParseReason(s.DisabledReason)
		if ours && s.ForcedDown && r.Node != "" && told.Node == r.Node && told.Gen == r.Gen && told.Since.Equal(r.Since.Truncate(time.Second)) {
			m.State, m.Service, m.Silent = One, s, false
			break
		}
	}
	return m
}

func (c Cloud) find(name string, fenced time.Time) Match {
	m := Match{Name: name, all: c.Services}
	best := noFit
	for _, s := range c.byShort[strings.ToLower(Short(name))] {
		if f := compare(name, s.Host, c.domain); f != noFit {
			m.Fitting = append(m.Fitting, s)
			best = min(best, f)
		}
	}
	slices.SortStableFunc(m.Fitting, func(a, b nova.Service) int {
		return cmp.Or(cmp.Compare(compare(name, a.Host, c.domain), compare(name, b.Host, c.domain)), cmp.Compare(a.Host, b.Host))
	})
	if len(m.Fitting) == 0 {
		return m
	}
	m.Service, m.State = m.Fitting[0], One
	m.Silent = c.silent(m.Service, fenced)
	for _, other := range m.Fitting[1:] {
		switch {
		case compare(name, other.Host, c.domain) == best:
			m.State = Ambiguous
		case m.State == One && m.Silent && !c.silent(other, fenced):
			m.State = Stale
		}
	}
	if m.State == Ambiguous {
		m.Service, m.Silent = nova.Service{}, false
	}
	return m
}

// silent answers whether a nova-compute was silent long before a fencing. A service that
// nova-evac has disabled is that of a host that it has handled under this name: its stamp is
// that of a request.
func (c Cloud) silent(s nova.Service, fenced time.Time) bool {
	if fenced.IsZero() || s.Partial || s.Up || s.Ours() || s.Updated.IsZero() {
		return false
	}
	return c.Clock.Time(fenced).Sub(history.Stamp(s.Updated)) > longSilent
}

// Distinct gives services, one for each host. A host that was moved to another cell leaves
// a service in the old one: of two under one name the one counts that was heard last.
func Distinct(services []nova.Service) []nova.Service {
	at := map[string]int{}
	var distinct []nova.Service
	for _, s := range services {
		n, known := at[s.Host]
		switch {
		case !known:
			at[s.Host] = len(distinct)
			distinct = append(distinct, s)
		case distinct[n].Partial || !s.Partial && s.Updated.After(distinct[n].Updated):
			distinct[n] = s
		}
	}
	return distinct
}

// Err is nil where one host is meant. Its text lists what Nova knows, so that a host map can
// be put right from it.
func (m Match) Err() error {
	e := &nova.Error{Op: "find the nova-compute of host " + m.Name, Kind: nova.ErrNotFound}
	switch {
	case m.State == One:
		return nil
	case m.State == Ambiguous:
		e.Message = fmt.Sprintf("the name fits %s: give the full one in the fence device's pcmk_host_map", strings.Join(m.Names(), ", "))
	case m.State == Stale:
		e.Message = fmt.Sprintf("the name fits %s, which is silent since %s, and %s: give the full one in the fence device's pcmk_host_map, or delete the service that is of the past ('openstack compute service delete ID')",
			m.Service.Host, m.Service.Updated.UTC().Format(time.RFC3339), strings.Join(m.Names()[1:], ", "))
	case len(m.all) == 0:
		e.Message = "Nova knows no nova-compute at all"
	default:
		var known []string
		for _, s := range m.all {
			known = append(known, s.Host)
		}
		slices.Sort(known)
		e.Message = fmt.Sprintf("Nova knows no such nova-compute, only %s: check the fence device's pcmk_host_map", abridged(known))
	}
	return e
}

// Names are the names of all that fit, the best first.
func (m Match) Names() []string {
	var names []string
	for _, s := range m.Fitting {
		names = append(names, s.Host)
	}
	return names
}

func abridged(names []string) string {
	const most = 8
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
