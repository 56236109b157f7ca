package identity

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/history"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/record"
)

var t0 = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

// services makes the services of hosts. "a~5m" was heard last five minutes before t0.
func services(t *testing.T, hosts string) []nova.Service {
	t.Helper()
	var all []nova.Service
	for _, word := range strings.Fields(hosts) {
		host, ago, _ := strings.Cut(word, "~")
		s := nova.Service{ID: "id-of-" + host, Host: host, Up: ago == "", Enabled: true, Updated: t0}
		if ago != "" {
			d, err := time.ParseDuration(ago)
			if err != nil {
				t.Fatal(err)
			}
			s.Updated = t0.Add(-d)
		}
		all = append(all, s)
	}
	return all
}

func TestWhichOfNovasHostsAFencedNameMeans(t *testing.T) {
	for _, c := range []struct {
		name, known, host, domain string
		state                     State
		want                      string // the host, or all that fit
	}{
		{"the very name", "a b c", "b", "", One, "b"},
		{"a short name in Nova, the full one asked for", "compute-1 compute-2", "compute-1.example.org", "", One, "compute-1"},
		{"the full name in Nova, the short one asked for", "compute-1.example.org compute-2.example.org", "compute-1", "", One, "compute-1.example.org"},
		{"capitals in Nova", "COMPUTE-1 COMPUTE-2", "compute-1", "", One, "COMPUTE-1"},
		{"capitals in the cluster", "compute-1 compute-2", "Compute-1", "", One, "compute-1"},
		{"capitals, and short against full", "COMPUTE-1.EXAMPLE.ORG", "compute-1", "", One, "COMPUTE-1.EXAMPLE.ORG"},
		{"capitals, and the domain", "C1.A.ORG c1.b.org", "c1", "a.org", One, "C1.A.ORG"},
		{"the very name goes before one in capitals", "Compute-1 compute-1", "compute-1", "", One, "compute-1"},
		{"two that differ in capitals only are not guessed between", "Compute-1 COMPUTE-1", "compute-1", "", Ambiguous, "COMPUTE-1 Compute-1"},
		{"two full names in different domains are told apart by the domain", "c1.a.org c1.b.org", "c1", "b.org", One, "c1.b.org"},
		{"a domain may have a dot before it", "c1.a.org c1.b.org", "c1", ".b.org", One, "c1.b.org"},
		{"the very name goes before the domain", "c1 c1.a.org", "c1", "a.org", One, "c1"},
		{"two full names are not guessed between", "c1.a.org c1.b.org", "c1", "", Ambiguous, "c1.a.org c1.b.org"},
		{"nor where one of them is silent for long", "c1.a.org~9000h c1.b.org", "c1", "", Ambiguous, "c1.a.org c1.b.org"},
		{"a full name is not taken for another one", "c1.a.org", "c1.b.org", "", Unknown, ""},
		{"a name that begins the same is another one", "compute-10", "compute-1", "", Unknown, ""},
		{"an unknown one", "a b", "x", "", Unknown, ""},
		{"there is none at all", "", "x", "", Unknown, ""},
		{"the very name is of before a renaming", "compute-1~9000h compute-1.example.org", "compute-1", "", Stale, "compute-1 compute-1.example.org"},
		{"so is the full one", "compute-1.example.org~9000h compute-1", "compute-1.example.org", "", Stale, "compute-1.example.org compute-1"},
		{"the other one is of before the renaming", "compute-1 compute-1.example.org~9000h", "compute-1", "", One, "compute-1"},
		{"both are of the past: the very name is meant", "compute-1~9000h compute-1.example.org~9000h", "compute-1", "", One, "compute-1"},
		{"it died with its host, minutes ago", "compute-1~10m compute-1.example.org", "compute-1", "", One, "compute-1"},
		{"one that is silent for long, and that no other fits", "compute-1~9000h", "compute-1", "", One, "compute-1"},
		{"one host in two cells: it was moved", "compute-1~9000h compute-1~1m", "compute-1", "", One, "compute-1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := NewCloud(services(t, c.known), c.domain, history.Clock{}).Of(record.NewlyFenced(c.host, "", t0))
			got := strings.Join(m.Names(), " ")
			if m.State == One {
				got = m.Service.Host
			}
			if m.State != c.state || got != c.want {
				t.Errorf("state %d, %q", m.State, got)
			}
			if err := m.Err(); (err == nil) != (m.State == One) || err != nil && !errors.Is(err, nova.ErrNotFound) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func TestTheErrorNamesWhatNovaKnows(t *testing.T) {
	for _, c := range []struct{ name, known, host, want string }{
		{"an unknown one", "a b", "x", "only a, b: check the fence device's pcmk_host_map"},
		{"of many the first are named", "h1 h2 h3 h4 h5 h6 h7 h8 h9", "x", "h8 and 1 more"},
		{"there is none at all", "", "x", "no nova-compute at all"},
		{"several fit", "c1.a.org c1.b.org", "c1", "the name fits c1.a.org, c1.b.org: give the full one"},
		{"one is of the past", "c1~24h c1.b.org", "c1", "c1, which is silent since 2026-02-28T03:00:00Z, and c1.b.org"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := NewCloud(services(t, c.known), "", history.Clock{}).Fenced(c.host, t0).Err(); !strings.Contains(fmt.Sprint(err), c.want) {
				t.Error(err)
			}
		})
	}
}

func TestAServiceThatWasToldOfTheFencingIsTheHost(t *testing.T) {
	r := record.NewlyFenced("c1", "node-1", t0)
	of := services(t, "c1.a.org c1.b.org")
	of[1].ForcedDown, of[1].DisabledReason = true, r.Witness().Reason()
	if m := NewCloud(of, "", history.Clock{}).Of(r); m.State != One || m.Service.Host != "c1.b.org" {
		t.Errorf("%+v", m)
	}
	other := r
	other.Node = "node-2" // another node, fenced in the same second
	if m := NewCloud(of, "", history.Clock{}).Of(other); m.State != Ambiguous {
		t.Errorf("%+v", m)
	}
	r.Since = t0.Add(time.Hour) // another fencing, of which Nova was not told
	if m := NewCloud(of, "", history.Clock{}).Of(r); m.State != Ambiguous {
		t.Errorf("%+v", m)
	}
}

func TestSilentLongBeforeTheFencing(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*nova.Service)
		fenced time.Time
		want   bool
	}{
		{"for a day", func(s *nova.Service) { s.Updated = t0.Add(-24 * time.Hour) }, t0, true},
		{"for ten minutes", func(s *nova.Service) { s.Updated = t0.Add(-10 * time.Minute) }, t0, false},
		{"nobody was fenced", func(s *nova.Service) { s.Updated = t0.Add(-24 * time.Hour) }, time.Time{}, false},
		{"it is up", func(s *nova.Service) { s.Up, s.Updated = true, t0.Add(-24*time.Hour) }, t0, false},
		{"nova-evac has handled it under this name", func(s *nova.Service) { s.DisabledReason, s.Updated = record.ReasonPrefix, t0.Add(-24*time.Hour) }, t0, false},
		{"its cell is down", func(s *nova.Service) { s.Partial, s.Updated = true, t0.Add(-24*time.Hour) }, t0, false},
		{"Nova has never heard of it", func(s *nova.Service) { s.Updated = time.Time{} }, t0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := nova.Service{Host: "a"}
			c.change(&s)
			if m := NewCloud([]nova.Service{s}, "", history.Clock{}).Fenced("a", c.fenced); m.Silent != c.want {
				t.Errorf("silent: %v", m.Silent)
			}
		})
	}
}

func TestOfAHostInTwoCellsTheServiceCountsThatWasHeardLast(t *testing.T) {
	of := services(t, "a~9000h a~1m b")
	of[0].ID, of[1].ID = "cell1", "cell2"
	for range 2 {
		if d := Distinct(of); len(d) != 2 || !slices.ContainsFunc(d, func(s nova.Service) bool { return s.ID == "cell2" }) {
			t.Errorf("%+v", d)
		}
		slices.Reverse(of)
	}
}

func TestWhichRecordANameMeans(t *testing.T) {
	records := func(text string) (all []cib.Stored) {
		for _, word := range strings.Fields(text) {
			host, node, _ := strings.Cut(word, "=")
			all = append(all, cib.Stored{Record: record.NewlyFenced(host, node, t0)})
		}
		return all
	}
	for _, c := range []struct{ name, recorded, say, want string }{
		{"its plug", "compute-1 compute-2", "compute-1", "compute-1"},
		{"its full name", "compute-1 compute-2", "compute-1.example.org", "compute-1"},
		{"its short name", "compute-1.example.org compute-2.example.org", "compute-1", "compute-1.example.org"},
		{"capitals", "compute-1 compute-2", "COMPUTE-1", "compute-1"},
		{"its node's name", "nova-1=node-1 nova-2=node-2", "node-1", "nova-1"},
		{"the full name of its node", "nova-1=node-1 nova-2=node-2", "node-1.example.org", "nova-1"},
		{"a host map that crosses two names: the plug is Nova's name", "a=b b=a", "a", "a"},
		{"a short name that fits two", "c1.a.org c1.b.org", "c1", "c1.a.org c1.b.org"},
		{"the very name goes before one that fits", "c1 c1.a.org", "c1", "c1"},
		{"another domain is another host", "c1.a.org", "c1.b.org", ""},
		{"nobody's name", "c1=n1", "c2", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := strings.ReplaceAll(Hosts(Recorded(records(c.recorded), c.say)), ",", ""); got != c.want {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestTheRecordsOfOneHostAreThoseThatNovaHasOneHostFor(t *testing.T) {
	var all []cib.Stored
	for n, host := range []string{"c1", "c1.a.org", "C1.A.ORG", "c1.b.org", "c2", "x"} {
		all = append(all, cib.Stored{Record: record.NewlyFenced(host, "", t0.Add(time.Duration(n)*time.Minute))})
	}
	cloud := NewCloud(services(t, "c1.a.org c1.b.org c2.a.org"), "a.org", history.Clock{})
	of := cloud.ByHost(all)
	if got := Hosts(of["c1.a.org"]); got != "C1.A.ORG, c1.a.org, c1" { // the latest first
		t.Errorf("c1.a.org: %s", got)
	}
	if got := Hosts(of["c1.b.org"]); got != "c1.b.org" {
		t.Errorf("c1.b.org: %s", got)
	}
	if got := Hosts(of["c2.a.org"]); got != "c2" || len(of) != 3 {
		t.Errorf("%v", of)
	}
}

func TestWhichOfTwoRecordsOfOneHostIsCarried(t *testing.T) {
	at := func(host, owner string, minute int) record.Record {
		r := record.NewlyFenced(host, "", t0.Add(time.Duration(minute)*time.Minute))
		r.Owner = owner
		return r
	}
	for _, c := range []struct {
		name     string
		a, b     record.Record
		aCarried bool
	}{
		{"the one that has an owner", at("a", "ctl1", 0), at("b", "", 1), true},
		{"whatever its fencing was", at("a", "", 1), at("b", "ctl1", 0), false},
		{"of two that have owners the earlier: its owner may be at work", at("a", "ctl1", 0), at("b", "ctl2", 1), true},
		{"of two that nobody carries the later fencing", at("a", "", 0), at("b", "", 1), false},
		{"of two that are alike the first by name", at("a", "", 0), at("b", "", 0), true},
		{"a malformed one is none", record.Record{Host: "a"}, at("b", "", 0), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if Carried(c.a, c.b) != c.aCarried || Carried(c.b, c.a) == c.aCarried {
				t.Errorf("carried: %v, and the other way round %v", Carried(c.a, c.b), Carried(c.b, c.a))
			}
		})
	}
}

func TestTheClustersNameOfAHost(t *testing.T) {
	for _, c := range []struct{ name, nodes, host, want string }{
		{"the very name", "ctl1 compute-1 compute-2", "compute-1", "compute-1"},
		{"the short one", "ctl1 compute-1 compute-2", "compute-1.example.org", "compute-1"},
		{"the full one", "ctl1 compute-1.example.org", "compute-1", "compute-1.example.org"},
		{"capitals", "ctl1 COMPUTE-1", "compute-1", "COMPUTE-1"},
		{"two that fit", "c1.a.org c1.b.org", "c1", ""},
		{"none", "ctl1 node-1", "compute-1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := NodeOf(strings.Fields(c.nodes), c.host); got != c.want {
				t.Errorf("%q", got)
			}
		})
	}
}
