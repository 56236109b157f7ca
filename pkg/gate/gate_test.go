package gate

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/novasim"
	"github.com/nova-evac/nova-evac/pkg/ocf"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// view is a cluster that looks the same always.
type view struct {
	quorum bool
	err    error
	nodes  string
}

func (v view) View(context.Context) (cluster.View, error) {
	nodes := map[string]cluster.Node{}
	for _, name := range strings.Fields(v.nodes) {
		nodes[name] = cluster.Node{Online: true, Remote: true}
	}
	return cluster.View{Quorum: v.quorum, Nodes: nodes}, v.err
}

var joined = view{quorum: true}

// nodes is a cluster of these.
func nodes(names string) view { return view{quorum: true, nodes: names} }

func TestLook(t *testing.T) {
	now := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	fenced := record.NewlyFenced("compute-1", "", now)
	mapped := record.NewlyFenced("compute-1", "node-1", now).Encode()
	cloud := novasim.New(novasim.Config{Hosts: []string{"compute-1", "compute-2"}, Instances: []novasim.Batch{{Count: 3, Host: "compute-1"}}})
	direct := novasim.Direct{Cloud: cloud}
	services, err := direct.Services(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := direct.ForceDown(t.Context(), services[0], fenced.Witness().Reason()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		records map[string]string
		members view
		nova    bool
		host    string
		node    string
		held    string // part of it
		unknown bool
	}{
		{name: "without a record it is open", members: joined, host: "compute-1"},
		{name: "while instances are left it is closed", members: joined, host: "compute-1",
			records: map[string]string{"compute-1": fenced.Claimed("ctl1", 0, 0, now).Encode()}, held: "0 of 0 instances have left compute-1"},
		{name: "a short name is the same host", members: joined, host: "compute-1.example.org",
			records: map[string]string{"compute-1": fenced.Encode()}, held: "its record is fenced"},
		{name: "another host's record is not ours", members: nodes("compute-1 compute-10"), host: "compute-10",
			records: map[string]string{"compute-1": fenced.Encode()}},
		{name: "capitals are the same host", members: joined, host: "COMPUTE-1.example.org",
			records: map[string]string{"compute-1": fenced.Encode()}, held: "its record is fenced"},
		{name: "the machine has the node's name, and Nova another one", members: nodes("node-1 node-2"), host: "node-1",
			records: map[string]string{"compute-1": mapped}, held: "its record is fenced"},
		{name: "another node's record is not ours, whatever Nova's names are", members: nodes("node-1 node-2"), host: "node-2",
			records: map[string]string{"compute-1": mapped}},
		{name: "the cluster's name of this machine tells which it is", members: nodes("node-1 node-2"), host: "web.internal", node: "node-1",
			records: map[string]string{"compute-1": mapped}, held: "its record is fenced"},
		{name: "the machine has another domain than Nova, and one node has both names", members: nodes("compute-1 compute-2"), host: "compute-1.internal",
			records: map[string]string{"compute-1.example.org": fenced.Encode()}, held: "its record is fenced"},
		{name: "a name that nobody knows is not open", members: nodes("compute-1 compute-2"), host: "web.internal",
			records: map[string]string{"compute-1.example.org": fenced.Encode()}, unknown: true},
		{name: "a machine in another domain than Nova, outside of the cluster, is not open", members: nodes("ctl1"), host: "compute-1.internal",
			records: map[string]string{"compute-1.example.org": fenced.Encode()}, unknown: true},
		{name: "a name that nobody knows is open where nothing is evacuated", members: nodes("compute-1 compute-2"), host: "web.internal",
			records: map[string]string{"compute-1": fenced.Settled(now).Encode()}},
		{name: "a record whose node nobody knows may be of any host", members: nodes("node-1 node-2"), host: "node-2",
			records: map[string]string{"compute-9": fenced.Encode()}, unknown: true},
		{name: "a record that nobody can read, of a node that nobody knows, may be ours", members: nodes("node-1"), host: "node-1",
			records: map[string]string{"compute-9": "phase=dancing"}, unknown: true},
		{name: "Nova tells that two names are one host", members: joined, nova: true, host: "COMPUTE-1",
			records: map[string]string{"compute-1.example.org": fenced.Encode()}, held: "its record is fenced"},
		{name: "Nova tells that two names are two hosts", members: joined, nova: true, host: "compute-2",
			records: map[string]string{"compute-1.example.org": fenced.Encode()}},
		{name: "once evacuated it is open", members: joined, host: "compute-1",
			records: map[string]string{"compute-1": fenced.Settled(now).Encode()}},
		{name: "a record that nobody can read keeps it closed", members: joined, host: "compute-1",
			records: map[string]string{"compute-1": "phase=dancing"}, held: "malformed"},
		{name: "a node that has not joined the cluster may have records of the past", host: "compute-1", unknown: true},
		{name: "a cluster that does not answer says nothing", members: view{err: cluster.ErrUnavailable}, host: "compute-1", unknown: true},
		{name: "Nova is asked where the records cannot be", nova: true, host: "compute-1", held: "Nova has 3 instances on compute-1"},
		{name: "Nova lets a host start that was not fenced", nova: true, host: "compute-2"},
		{name: "a name that Nova does not know is not open where hosts are fenced", nova: true, host: "compute-9", unknown: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			records := &cib.Memory{}
			records.Restore(c.records)
			g := Gate{Host: c.host, Node: func(context.Context) string { return c.node }, Records: records, Members: c.members}
			if c.nova {
				g.Nova = direct
			}
			held, err := g.Look(t.Context())
			if (err != nil) != c.unknown || (held == "") != (c.held == "") || !strings.Contains(held, c.held) {
				t.Errorf("held %q, %v", held, err)
			}
		})
	}
}

func TestTheAgentSetsTheAttributeAndNeverWaits(t *testing.T) {
	dir, attribute := t.TempDir(), "none"
	held, unknown := "", error(nil)
	agent := Agent{
		Look: func(_ context.Context, host string) (string, error) {
			if host != "compute-1" {
				t.Errorf("asked for %s", host)
			}
			return held, unknown
		},
		Env: func(name string) string {
			return map[string]string{"OCF_RESKEY_host": "compute-1", "OCF_RESKEY_state_dir": dir}[name]
		},
		Update: func(_ context.Context, value string) error { attribute = value; return nil },
		Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{},
	}
	for n, step := range []struct {
		action    string
		held      string
		unknown   error
		code      int
		attribute string
	}{
		{"monitor", "", nil, ocf.NotRunning, "none"},
		{"start", "", errors.New("nobody answers"), ocf.Success, "closed"},
		{"monitor", "3 instances", nil, ocf.Success, "closed"},
		{"monitor", "", nil, ocf.Success, "open"},
		{"monitor", "", errors.New("nobody answers"), ocf.Success, "open"}, // a nova-compute that runs is left running
		{"monitor", "3 instances", nil, ocf.Success, "closed"},
		{"stop", "", nil, ocf.Success, ""},
		{"stop", "", nil, ocf.Success, ""},
		{"monitor", "", nil, ocf.NotRunning, ""},
		{"start", "", nil, ocf.Success, "open"},
		{"promote", "", nil, ocf.Unimplemented, "open"},
	} {
		held, unknown = step.held, step.unknown
		if code := agent.Run(t.Context(), []string{step.action}); code != step.code || attribute != step.attribute {
			t.Errorf("step %d, %s: exit code %d, attribute %q", n, step.action, code, attribute)
		}
	}
}

// ticket is a gate that waits, with what it has attested and said. It is its own cluster.
type ticket struct {
	Gate
	records  *cib.Memory
	away     error // of the cluster that is asked
	trouble  error // of the cluster that is told
	looks    int
	steps    []func() // what happens, one at each fifth look
	attested []bool
	said     []string
}

// waiting makes the gate of a host that is being evacuated, looked at every second.
func waiting() *ticket {
	g := &ticket{records: &cib.Memory{}}
	g.records.Restore(map[string]string{"compute-1": record.NewlyFenced("compute-1", "", time.Now()).Encode()})
	g.Gate = Gate{Host: "compute-1", Records: g.records, Members: g, Poll: time.Second,
		Attest: func(_ context.Context, holds bool) error { g.attested = append(g.attested, holds); return g.trouble },
		Say:    func(text string) { g.said = append(g.said, text) }}
	return g
}

func (g *ticket) View(context.Context) (cluster.View, error) {
	if g.looks++; g.looks%5 == 0 && len(g.steps) > 0 {
		step := g.steps[0]
		g.steps = g.steps[1:]
		step()
	}
	return cluster.View{Quorum: true}, g.away
}

// passes has the gate wait, for a minute or two at most, while the steps happen.
func (g *ticket) passes(t *testing.T, steps ...func()) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second+g.Poll/2)
	defer cancel()
	g.steps = steps
	return g.Wait(ctx)
}

func (g *ticket) evacuated() { g.records.Restore(nil) }

func TestTheGateAttestsThatItHoldsUntilItOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := waiting()
		if err := g.passes(t, g.evacuated); err != nil {
			t.Error(err)
		}
		if want := []bool{true, true, true, true, false}; !slices.Equal(g.attested, want) {
			t.Errorf("attested: %v", g.attested)
		}
		if len(g.said) != 1 || !strings.Contains(g.said[0], ErrHeld.Error()) {
			t.Errorf("said: %q", g.said)
		}
	})
}

func TestAGateThatOpensAtOnceWithdrawsItsAttestation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := waiting()
		g.evacuated()
		if err := g.passes(t); err != nil || !slices.Equal(g.attested, []bool{false}) {
			t.Errorf("%v, attested: %v", err, g.attested)
		}
	})
}

func TestAGateThatDoesNotKnowAttestsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := waiting()
		g.away = cluster.ErrUnavailable
		err := g.passes(t, func() {
			if len(g.attested) > 0 {
				t.Errorf("attested: %v, and nobody could be asked", g.attested)
			}
			g.away = nil
		}, g.evacuated)
		if want := []bool{true, true, true, true, true, false}; err != nil || !slices.Equal(g.attested, want) {
			t.Errorf("%v, attested: %v", err, g.attested)
		}
	})
}

func TestAGateThatOpensUnknowingWithdrawsItsAttestation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := waiting()
		g.OpenUnknown = time.Minute
		if err := g.passes(t, func() { g.away = cluster.ErrUnavailable }); err != nil {
			t.Error(err)
		}
		if n := slices.Index(g.attested, false); n < 1 || n != len(g.attested)-1 {
			t.Errorf("attested: %v", g.attested)
		}
	})
}

func TestAClusterThatCannotBeToldIsNamedOnceAndChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := waiting()
		g.trouble = errors.New("attrd_updater: Could not connect")
		told := func() int {
			n := 0
			for _, text := range g.said {
				if strings.Contains(text, "the cluster does not know that the gate holds: attrd_updater: Could not connect") {
					n++
				}
			}
			return n
		}
		err := g.passes(t, func() {
			if told() != 1 || len(g.attested) != 4 {
				t.Errorf("tried %d times, said: %q", len(g.attested), g.said)
			}
			g.trouble = nil
		}, func() { g.trouble = errors.New("attrd_updater: Could not connect") }, g.evacuated)
		if err != nil || told() != 2 || g.attested[len(g.attested)-1] {
			t.Errorf("%v, said: %q", err, g.said)
		}
	})
}

func TestAGateThatIsStoppedIsStillHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := waiting()
		if err := g.passes(t); !errors.Is(err, ErrHeld) || slices.Contains(g.attested, false) {
			t.Errorf("%v, attested: %v", err, g.attested)
		}
	})
}

func TestWithoutAClusterTheGateWaitsAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := waiting()
		g.Attest = nil
		if err := g.passes(t, g.evacuated); err != nil || len(g.said) != 1 {
			t.Errorf("%v, said: %q", err, g.said)
		}
	})
}

func TestTheAgentAttestsOnlyAfterALook(t *testing.T) {
	dir := t.TempDir()
	var stderr bytes.Buffer
	held, unknown := "", error(nil)
	var attested []bool
	trouble := error(nil)
	agent := Agent{
		Look:   func(context.Context, string) (string, error) { return held, unknown },
		Env:    func(name string) string { return map[string]string{"OCF_RESKEY_state_dir": dir}[name] },
		Update: func(context.Context, string) error { return nil },
		Attest: func(_ context.Context, holds bool) error { attested = append(attested, holds); return trouble },
		Stdout: &bytes.Buffer{}, Stderr: &stderr,
	}
	away := errors.New("nobody answers")
	for n, step := range []struct {
		action  string
		held    string
		unknown error
		trouble error
		want    []bool
	}{
		{"monitor", "3 instances", nil, nil, nil}, // it is not started
		{"start", "", away, nil, nil},             // it is closed, and does not know
		{"monitor", "3 instances", nil, nil, []bool{true}},
		{"monitor", "3 instances", nil, nil, []bool{true}}, // each time: that is how it lives
		{"monitor", "", away, nil, nil},
		{"monitor", "", nil, nil, []bool{false}},
		{"start", "3 instances", nil, nil, []bool{true}},
		{"monitor", "3 instances", nil, errors.New("attrd is away"), []bool{true}},
	} {
		held, unknown, trouble, attested = step.held, step.unknown, step.trouble, nil
		stderr.Reset()
		code, want := agent.Run(t.Context(), []string{step.action}), ocf.Success
		if n == 0 {
			want = ocf.NotRunning
		}
		if code != want || !slices.Equal(attested, step.want) {
			t.Errorf("step %d, %s: exit code %d, attested %v", n, step.action, code, attested)
		}
		if step.trouble != nil && !strings.Contains(stderr.String(), "WARNING: "+step.trouble.Error()) {
			t.Errorf("step %d: it says %q", n, &stderr)
		}
	}
}
