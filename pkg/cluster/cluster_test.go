package cluster

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// read parses what crm_mon of Pacemaker 2.1.5 printed on a real cluster.
func read(t *testing.T, name string) View {
	t.Helper()
	out, err := os.ReadFile(filepath.Join("testdata", name+".xml"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := parse(out)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestAViewIsWhatCrmMonPrints(t *testing.T) {
	want := View{
		Quorum: true,
		Nodes: map[string]Node{"ctl1": {Online: true}, "ctl2": {Online: true}, "ctl3": {Online: true, Pending: true},
			"compute-1": {Online: true, Remote: true}},
		Supervisors: map[string]bool{"ctl1": true, "ctl2": true},
	}
	if diff := cmp.Diff(want, read(t, "joining")); diff != "" {
		t.Error(diff)
	}
}

func TestQuorum(t *testing.T) {
	if read(t, "noquorum").Quorum {
		t.Error("a partition without quorum may act")
	}
}

func TestGone(t *testing.T) {
	for _, c := range []struct {
		name, state, owner string
		gone               bool
		why                string
	}{
		{"a running supervisor is not gone", "healthy", "ctl3", false, "its supervisor runs"},
		{"a node that is offline but not fenced may be alive", "unclean", "ctl3", false, "stonith_admin --confirm=ctl3"},
		{"a fenced node is gone", "fenced", "ctl3", true, "offline and clean"},
		{"a node that joins again is not known yet", "joining", "ctl3", false, "joining"},
		{"a node without quorum itself sees nobody gone", "noquorum", "ctl2", false, "not fenced"},
		{"a node of no cluster cannot be judged", "healthy", "other", false, "no node other"},
		{"a shell on a node that is up cannot be judged from elsewhere", "healthy", "shell@ctl3", false, "shell on ctl3"},
		{"a shell on a fenced node is gone", "fenced", "shell@ctl3", true, "offline and clean"},
	} {
		t.Run(c.name, func(t *testing.T) {
			state := read(t, c.state).Owner(c.owner)
			gone, why := state.Gone(), state.Explain(c.owner)
			if gone != c.gone || !strings.Contains(why, c.why) {
				t.Errorf("%v, %s", gone, why)
			}
		})
	}
	t.Run("a member on which the resource was stopped has no supervisor any more", func(t *testing.T) {
		v := read(t, "healthy")
		delete(v.Supervisors, "ctl3")
		if state := v.Owner("ctl3"); !state.Gone() {
			t.Error(state.Explain("ctl3"))
		}
	})
}

func TestANodeIsLiveWhenItIsOnlineCleanAndJoined(t *testing.T) {
	for _, c := range []struct {
		node Node
		live bool
	}{
		{Node{Online: true}, true},
		{Node{Online: true, Remote: true}, true},
		{Node{}, false},
		{Node{Online: true, Unclean: true}, false},
		{Node{Online: true, Pending: true}, false},
	} {
		if got := c.node.Live(); got != c.live {
			t.Errorf("%+v: live %v", c.node, got)
		}
	}
}

func TestWhatIsNoXMLIsNoView(t *testing.T) {
	for _, out := range []string{"", "error: could not connect to cluster", "<pacemaker-result/>"} {
		if _, err := parse([]byte(out)); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%q: %v", out, err)
		}
	}
}

func TestPresenceEndsWithItsHolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a[x]*") // looks like a pattern
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	a, err := Announce(dir, "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Announce(dir, "a"); !errors.Is(err, ErrPresent) {
		t.Errorf("announced twice: %v", err)
	}
	local := Local{dir}
	gone := func() bool {
		v, err := local.View(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if _, known := v.Nodes["a"]; !known {
			t.Error("it is not seen at all")
		}
		return v.Owner("a").Gone()
	}
	if gone() {
		t.Error("a live process counts as gone")
	}
	if err := a.Withdraw(); err != nil {
		t.Fatal(err)
	}
	if !gone() {
		t.Error("a process that has ended does not count as gone")
	}
}

func TestAPresenceOutlivesItsFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	presence, err := Announce(dir, "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	holders := func(name string, want ...int) {
		t.Helper()
		if pids, err := Holders(dir, name); err != nil || !slices.Equal(pids, want) {
			t.Errorf("%v, %v, expected %v", pids, err, want)
		}
	}
	holders("a", os.Getpid())
	holders("b")
	if held, err := Held(dir, "a"); held || err != nil {
		t.Errorf("a file that is gone is locked: %v, %v", held, err)
	}
	if err := presence.Withdraw(); err != nil {
		t.Fatal(err)
	}
	holders("a")
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"healthy", "joining", "noquorum"} {
		out, err := os.ReadFile(filepath.Join("testdata", name+".xml"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(out)
	}
	f.Fuzz(func(t *testing.T, out []byte) {
		if v, err := parse(out); err == nil && len(v.Nodes) == 0 {
			t.Error("a view without nodes")
		}
	})
}

func TestTheFencingHistoryTellsWhatWasSwitchedOff(t *testing.T) {
	out, err := os.ReadFile("testdata/history.xml")
	if err != nil {
		t.Fatal(err)
	}
	fencings, err := parseFencings(out)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range fencings {
		got = append(got, f.Target+" "+f.Completed.UTC().Format(time.RFC3339))
	}
	want := "compute-1 2026-11-23T21:37:09Z, compute-2 2026-11-23T21:37:10Z"
	if strings.Join(got, ", ") != want {
		t.Errorf("%v, expected %s", got, want)
	}
	for _, bad := range []string{"", "no XML", `<a><list><fence_event action="off" target="x" status="success" completed="soon"/></list></a>`} {
		if _, err := parseFencings([]byte(bad)); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
