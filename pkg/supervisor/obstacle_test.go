package supervisor

import (
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/history"
	"github.com/nova-evac/nova-evac/pkg/identity"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/record"
)

var t0 = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

func TestWhatKeepsAHostFromBeingLetIn(t *testing.T) {
	up := nova.Service{Host: "compute-1"}
	member := cluster.View{Nodes: map[string]cluster.Node{"compute-1": {Online: true, Remote: true}}}
	absent := cluster.View{Nodes: map[string]cluster.Node{"compute-1": {Remote: true}}}
	joining := cluster.View{Nodes: map[string]cluster.Node{"compute-1": {Online: true, Pending: true}}}
	from := func(statuses ...string) (all []nova.Migration) {
		for n, status := range statuses {
			all = append(all, nova.Migration{Instance: string(rune('a' + n)), Source: "compute-1", Status: nova.Status(status)})
		}
		return all
	}
	for _, c := range []struct {
		name        string
		back        record.Back
		service     nova.Service
		evacuations []nova.Migration
		awake       bool
		view        cluster.View
		want        obstacle
	}{
		{"nothing", record.BackOn, up, from("completed", "error", "failed"), true, member, nil},
		{"it is no node of the cluster", record.BackOn, up, nil, true, cluster.View{}, nil},
		{"another host's evacuations", record.BackOn, up, []nova.Migration{{Source: "compute-2", Dest: "compute-1", Status: "done"}}, true, member, nil},
		{"its cell is down", record.BackOn, nova.Service{Host: "compute-1", Partial: true}, nil, true, absent, cellDown{}},
		{"it is not online in the cluster", record.BackOn, up, from("done"), false, absent, notMember{"compute-1"}},
		{"it is joining the cluster", record.BackOn, up, nil, true, joining, notMember{"compute-1"}},
		{"its nova-compute is silent", record.BackOn, up, from("done"), false, member, notStarted{"compute-1"}},
		{"evacuations of it are not completed", record.BackOn, up, from("done", "completed", "accepted", "pre-migrating"), true, member,
			evacuationsOpen{host: "compute-1", count: 3}},
		{"and it ran meanwhile", record.BackRunning, up, from("done", "done"), true, member,
			evacuationsOpen{host: "compute-1", count: 2, ranMeanwhile: true, some: [mostNamed]string{"a", "b"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := notReady(record.Record{Host: "compute-1", Back: c.back}, c.service, c.evacuations, c.awake, c.view); got != c.want {
				t.Errorf("%#v, expected %#v", got, c.want)
			}
		})
	}
}

func TestEvacuationsThatAreOpenAreNamed(t *testing.T) {
	for _, c := range []struct {
		back      record.Back
		instances []string
		want      string
	}{
		{record.BackOn, []string{"a"}, "nova-compute to be restarted on c: 1 evacuations were not over when it started, and only its start completes them in Nova"},
		{record.BackRunning, []string{"a"}, "DANGER: guests of a may run here and elsewhere; nova-compute to be restarted on c: 1 evacuations were not over when it started, and only its start completes them in Nova, and ends those guests"},
		{record.BackRunning, []string{"a", "b", "c", "d", "e"}, "DANGER: guests of a, b, c and 2 more may run here and elsewhere; nova-compute to be restarted on c: 5 evacuations were not over when it started, and only its start completes them in Nova, and ends those guests"},
	} {
		if got := openEvacuations("c", c.back, c.instances).String(); got != c.want {
			t.Error(got)
		}
	}
}

func TestTheGuardCountsTheHostsThatAreDown(t *testing.T) {
	ours := record.Witness{Gen: 1, Since: t0}.Reason()
	service := func(host string, change func(*nova.Service)) nova.Service {
		s := nova.Service{Host: host, Up: true, Enabled: true}
		if change != nil {
			change(&s)
		}
		return s
	}
	forced := func(s *nova.Service) { s.Up, s.Enabled, s.ForcedDown, s.DisabledReason = false, false, true, ours }
	fenced := func(back record.Back) []cib.Stored {
		return []cib.Stored{{Record: record.Record{Host: "a", Phase: record.Fenced, Gen: 1, Since: t0, Back: back}}}
	}
	node := func(n cluster.Node) cluster.View { return cluster.View{Nodes: map[string]cluster.Node{"a": n}} }
	for _, c := range []struct {
		name    string
		a       nova.Service
		records []cib.Stored
		view    cluster.View
		awake   bool
		down    int
		all     int
	}{
		{"all is well", service("a", nil), nil, node(cluster.Node{Online: true}), false, 0, 2},
		{"it does not answer Nova", service("a", func(s *nova.Service) { s.Up = false }), nil, cluster.View{}, false, 1, 2},
		{"its cell is down", service("a", func(s *nova.Service) { s.Up, s.Partial = false, true }), nil, cluster.View{}, false, 0, 2},
		{"an operator has disabled it", service("a", func(s *nova.Service) { s.Up, s.Enabled = false, false }), nil, node(cluster.Node{}), false, 0, 1},
		{"the cluster has lost it", service("a", nil), nil, node(cluster.Node{}), false, 1, 2},
		{"the cluster wants to fence it", service("a", nil), nil, node(cluster.Node{Online: true, Unclean: true}), false, 1, 2},
		{"it is joining the cluster", service("a", nil), nil, node(cluster.Node{Online: true, Pending: true}), false, 1, 2},
		{"it was fenced, and is no node", service("a", nil), fenced(record.NotBack), cluster.View{}, false, 1, 2},
		{"it was fenced, and the cluster tries to connect", service("a", forced), fenced(record.NotBack), node(cluster.Node{Online: true, Remote: true}), false, 1, 2},
		{"it was fenced, and is back", service("a", forced), fenced(record.BackOn), node(cluster.Node{Online: true, Remote: true}), false, 0, 2},
		{"it was fenced, and its nova-compute runs", service("a", forced), fenced(record.BackOn), cluster.View{}, true, 0, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			cloud := identity.NewCloud([]nova.Service{c.a, service("b", nil)}, "", history.Clock{})
			down, all := takeCensus(cloud, c.records, c.view, map[string]bool{"a": c.awake}).count(cloud, t0)
			if down != c.down || all != c.all {
				t.Errorf("%d of %d are down, expected %d of %d", down, all, c.down, c.all)
			}
		})
	}
}

func TestTheGuardCountsHostsThatHaveOtherNamesInTheCluster(t *testing.T) {
	up := func(host string) nova.Service { return nova.Service{Host: host, Up: true, Enabled: true, Updated: t0} }
	silent := func(host string, since time.Duration) nova.Service {
		return nova.Service{Host: host, Enabled: true, Updated: t0.Add(-since)}
	}
	fenced := []cib.Stored{{Record: record.Record{Host: "nova-1", Node: "node-1", Phase: record.Fenced, Gen: 1, Since: t0}}}
	live, lost, controller := cluster.Node{Remote: true, Online: true}, cluster.Node{Remote: true, Unclean: true}, cluster.Node{Online: true}
	three := []nova.Service{up("nova-1"), up("nova-2"), up("nova-3")}
	for _, c := range []struct {
		name      string
		services  []nova.Service
		records   []cib.Stored
		nodes     map[string]cluster.Node
		down, all int
	}{
		{"the record leads from the node to Nova's name", three, fenced, map[string]cluster.Node{"node-1": lost}, 1, 3},
		{"nodes that are down, and whose names only the host map knows", three, fenced, map[string]cluster.Node{"node-1": lost, "node-2": lost, "node-3": lost}, 3, 3},
		{"nodes that live, and whose names only the host map knows", three, fenced, map[string]cluster.Node{"node-1": lost, "node-2": live, "node-3": live}, 1, 3},
		{"a controller that is down is no compute host", three, fenced, map[string]cluster.Node{"node-1": lost, "ctl1": {}, "ctl2": controller}, 1, 3},
		{"a mapped node that is down, and whose host does not answer Nova, is one", []nova.Service{up("nova-1"), silent("nova-2", time.Minute), up("nova-3")}, fenced,
			map[string]cluster.Node{"node-1": lost, "node-2": lost, "node-3": live}, 2, 3},
		{"more nodes than hosts: some are no compute hosts", three, fenced, map[string]cluster.Node{"node-1": lost, "node-2": lost, "node-3": lost, "storage-1": lost, "storage-2": lost}, 3, 3},
		{"where all hosts are known by name, another node is no compute host", []nova.Service{up("a"), up("b")}, nil,
			map[string]cluster.Node{"A": live, "b.example.org": live, "storage-1": lost}, 0, 2},
		{"short and full names, and capitals", []nova.Service{up("a.example.org"), up("B")}, nil, map[string]cluster.Node{"a": lost, "b": lost}, 2, 2},
		{"services that nobody has deleted are none", []nova.Service{up("a"), silent("b", time.Minute), silent("gone-1", 48*time.Hour), silent("gone-2", 9000*time.Hour)}, nil, nil, 1, 2},
		{"one that was silent for long, and is being evacuated", []nova.Service{up("a"), silent("nova-1", 48*time.Hour)}, fenced, nil, 1, 2},
		{"a host that was moved to another cell is one", []nova.Service{silent("a", 9000*time.Hour), up("a"), up("b")}, nil, nil, 0, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			cloud := identity.NewCloud(c.services, "", history.Clock{})
			down, all := takeCensus(cloud, c.records, cluster.View{Nodes: c.nodes}, nil).count(cloud, t0)
			if down != c.down || all != c.all {
				t.Errorf("%d of %d are down, expected %d of %d", down, all, c.down, c.all)
			}
		})
	}
}

func TestTheBoundsOfTheGuard(t *testing.T) {
	for _, c := range []struct {
		guard     Guard
		down, all int
		want      obstacle
	}{
		{Guard{}, 10, 10, nil},
		{Guard{Share: 100}, 10, 10, nil},
		{Guard{Share: 50}, 5, 10, nil},
		{Guard{Share: 50}, 6, 10, tooLargeShare{6, 10, 50}},
		{Guard{Hosts: 2}, 2, 10, nil},
		{Guard{Hosts: 2}, 3, 10, tooManyDown{3, 10, 2}},
		{Guard{Share: 20, Hosts: 2}, 3, 10, tooLargeShare{3, 10, 20}},
	} {
		if got := c.guard.storm(c.down, c.all); got != c.want {
			t.Errorf("%+v with %d of %d: %#v", c.guard, c.down, c.all, got)
		}
	}
}

// A record of an earlier look, or one that was put right from Nova, may have the words of
// one that goes on although the guard holds it.
func TestARecordGoesOnWhateverItsWordsAre(t *testing.T) {
	r := record.Record{Host: "a", Phase: record.Fenced, Gen: 1, Since: t0, Hold: record.HeldByGuard, Wait: record.ForSupervisor}
	stored := cib.Stored{Record: r}
	if next, changed := guarded(stored.Record, nil, t0); !changed || next.Hold != "" {
		t.Errorf("%+v, %v", next, changed)
	}
	if next, changed := guarded(stored.Record, inMaintenance{}, t0); !changed || next.Hold != record.HeldByGuard {
		t.Errorf("%+v, %v", next, changed)
	} else if _, changed := guarded(next, inMaintenance{}, t0); changed {
		t.Error("what the record says already is written again")
	}
	stored.Back = record.BackOn
	if next, _ := guarded(stored.Record, nil, t0); next.Hold != record.HeldBySource {
		t.Errorf("%+v", next)
	}
}

func TestATaskIsThatOfTheFirstSupervisorUntilTheTurnOfTheNext(t *testing.T) {
	turns := turns{due: map[string]due{}, before: 1}
	for _, c := range []struct {
		after time.Duration
		task  any
		mine  bool
	}{
		{0, notStarted{"a"}, false},
		{10 * time.Second, notStarted{"a"}, false},
		{20 * time.Second, notStarted{"a"}, false},
		{30 * time.Second, notStarted{"a"}, true},
		{31 * time.Second, notStarted{"b"}, false}, // something else is to be done
		{42 * time.Second, notStarted{"b"}, false},
		{55 * time.Second, notStarted{"b"}, false},
		{62 * time.Second, notStarted{"b"}, true},
		{90 * time.Second, notStarted{"b"}, false}, // it was not to be done in between
	} {
		if got := turns.mine("host", c.task, t0.Add(c.after)); got != c.mine {
			t.Errorf("after %v: %v", c.after, got)
		}
	}
	turns.before = 0
	if !turns.mine("host", poweredOn{}, t0) {
		t.Error("the first one waits")
	}
}
