package fence

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	agents "github.com/nova-evac/nova-evac/ocf"
	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/config"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/record"
)

var t0 = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

// cloud is a Nova that does as it is told.
type cloud struct {
	services []nova.Service
	err      error
	hang     bool
	panics   bool
	forced   []string // host and reason of what was forced down
}

func (n *cloud) Skew() time.Duration { return 0 }

func (n *cloud) Services(ctx context.Context) ([]nova.Service, error) {
	switch {
	case n.panics:
		panic("nova is on fire")
	case n.hang:
		select {} // and ctx does not help either
	}
	return n.services, n.err
}

func (n *cloud) ForceDown(_ context.Context, s nova.Service, reason string) error {
	n.forced = append(n.forced, s.Host+": "+reason)
	return nil
}

func up() *cloud {
	return &cloud{services: []nova.Service{{Host: "compute-1.example.org", Up: true, Enabled: true}, {Host: "compute-2.example.org", Up: true, Enabled: true}}}
}

// connection is the cluster's connection to the hosts.
type connection struct {
	err error
	do  func(node string)
}

func (c connection) KeepApart(_ context.Context, node string) error {
	c.do(node)
	return c.err
}

// broken is a store that cannot be reached.
type broken struct{ cib.Records }

func (broken) Query(context.Context) ([]cib.Stored, error) { return nil, cib.ErrUnavailable }

type result struct {
	code           int
	stdout, stderr string
}

// hook runs the agent once, on a records file in dir.
func hook(t *testing.T, dir string, n *cloud, stdin string, args ...string) result {
	t.Helper()
	return connected(t, dir, n, nil, stdin, args...)
}

// connected is hook with a connection to the hosts, for one that is not nil.
func connected(t *testing.T, dir string, n *cloud, to Connection, stdin string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	a := Agent{
		Connection: to,
		Records: func(string) (cib.Records, error) {
			if dir == "" {
				return broken{}, nil
			}
			return cib.File{Path: filepath.Join(dir, "records")}, nil
		},
		Nova: func(config.Config) (Nova, error) { return n, nil },
		Now:  func() time.Time { return t0 }, Version: "1.2.3", CloudsDirs: []string{t.TempDir()}, Stdout: &stdout, Stderr: &stderr,
	}
	code := a.Run(t.Context(), args, strings.NewReader(stdin))
	if strings.Contains(stdout.String()+stderr.String(), "s3cret") {
		t.Errorf("the password is shown: %s%s", &stdout, &stderr)
	}
	return result{code, stdout.String(), stderr.String()}
}

const cloudParams = "auth_url=http://keystone:5000/v3\nlogin=admin\npasswd=s3cret\ntenant-name=admin\n"

func stored(t *testing.T, dir, host string) (cib.Stored, bool) {
	t.Helper()
	all, err := cib.File{Path: filepath.Join(dir, "records")}.Query(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return cib.Find(all, host)
}

func TestOffRecordsTheHostAndTellsNova(t *testing.T) {
	dir, n := t.TempDir(), up()
	// This is as Pacemaker sends it, with its own additions, quotes and comments.
	r := hook(t, dir, n, "# from stonithd\naction=off\nnodename=node-1\n plug = \"compute-1\" \ncrm_feature_set=3.16.1\n"+cloudParams)
	s, found := stored(t, dir, "compute-1")
	if r.code != 0 || !found || s.Phase != record.Fenced || s.Gen != 1 || s.Node != "node-1" {
		t.Errorf("%+v %+v", r, s)
	}
	if diff := cmp.Diff([]string{"compute-1.example.org: " + record.NewlyFenced("compute-1.example.org", "node-1", t0).Witness().Reason()}, n.forced); diff != "" {
		t.Error(diff)
	}
}

func TestOffKeepsTheNodeApartBeforeItAsksNova(t *testing.T) {
	for name, c := range map[string]struct {
		stdin string
		want  string // the node, empty for none
		err   error
	}{
		"it has the host's name":        {"plug=compute-1\n", "compute-1", nil},
		"it has its own name":           {"plug=compute-1\nnodename=node-1\n", "node-1", nil},
		"the name is given twice":       {"plug=compute-1\nnodename=compute-1\n", "compute-1", nil},
		"it is given by its name only":  {"nodename=compute-1\n", "compute-1", nil},
		"the cluster refuses it":        {"plug=compute-1\n", "compute-1", errors.New("cibadmin: timed out")},
		"the records are not the CIB's": {"plug=compute-1\nrecords=/tmp/records\n", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir, n, node := t.TempDir(), up(), ""
			to := connection{c.err, func(of string) {
				if node != "" {
					t.Errorf("a second call, for %s", of)
				}
				node = of
				if s, found := stored(t, dir, "compute-1"); !found || s.Phase != record.Fenced {
					t.Error("it is not on record yet")
				}
				if len(n.forced) > 0 {
					t.Error("Nova was asked first")
				}
			}}
			r := connected(t, dir, n, to, "action=off\n"+c.stdin+cloudParams)
			if r.code != 0 || node != c.want || len(n.forced) != 1 {
				t.Errorf("%+v, kept apart: %q, Nova was told: %v", r, node, n.forced)
			}
			if warned := strings.Contains(r.stderr, "warning: cibadmin: timed out; the supervisor will"); warned != (c.err != nil) {
				t.Errorf("it says %q", r.stderr)
			}
		})
	}
}

func TestOffOfAHostThatIsRepeated(t *testing.T) {
	var apart []string
	to := connection{nil, func(node string) { apart = append(apart, node) }}
	dir := t.TempDir()
	for range 2 {
		connected(t, dir, up(), to, "action=off\nplug=compute-1\n"+cloudParams)
	}
	if strings.Join(apart, " ") != "compute-1 compute-1" {
		t.Errorf("one that is not evacuated yet: %v", apart)
	}
}

func TestOffByHandIsRefusedUnlessNovaHasTheHostDown(t *testing.T) {
	down := &cloud{services: []nova.Service{{Host: "compute-1", Enabled: true}}}
	partial := &cloud{services: []nova.Service{{Host: "compute-1", Partial: true}}}
	for _, c := range []struct {
		name     string
		n        *cloud
		option   string
		recorded bool
		says     string
	}{
		{"Nova has it up", up(), "--verbose", false, "Nova says that it is up"},
		{"Nova has it up, and it is forced", up(), "--force", true, "generation 1"},
		{"Nova has it down", down, "--verbose", true, "generation 1"},
		{"Nova does not answer", &cloud{err: errors.New("503")}, "--verbose", false, "503"},
		{"Nova does not answer, and it is forced", &cloud{err: errors.New("503")}, "--force", true, "503"},
		{"its cell does not answer", partial, "--verbose", false, "its cell"},
		{"Nova does not know it", &cloud{}, "--verbose", false, "knows no nova-compute"},
	} {
		for _, action := range []string{"off", "disable"} {
			t.Run(c.name+", "+action, func(t *testing.T) {
				dir := t.TempDir()
				args := []string{"--plug=compute-1", c.option, "--action=" + action, "--auth-url=http://k:5000/v3", "--login=admin", "--passwd=s3cret", "--tenant-name=admin"}
				r := hook(t, dir, c.n, "", args...)
				_, recorded := stored(t, dir, "compute-1")
				if recorded != c.recorded || (r.code == 0) != c.recorded || !strings.Contains(r.stderr, c.says) {
					t.Errorf("recorded: %v, %+v", recorded, r)
				}
				if !recorded && (!strings.Contains(r.stderr, "would run twice") || !strings.Contains(r.stderr, "--force")) {
					t.Errorf("it does not say what off does, and what to do: %s", r.stderr)
				}
			})
		}
	}
}

func TestAnUnknownNameOnStdinIsIgnored(t *testing.T) {
	dir := t.TempDir()
	if r := hook(t, dir, up(), "action=status\ndelay=5\nfavourite_colour=blue\nplug=compute-1\n"+cloudParams); r.code != 0 || r.stdout != "Status: ON\n" {
		t.Errorf("%+v", r)
	}
}

func TestANodeNameThatIsNoneIsNotRecorded(t *testing.T) {
	for _, name := range []string{"a b", "../x", "a\x1b[2J", "-x", "a/b"} {
		dir, apart := t.TempDir(), ""
		r := connected(t, dir, up(), connection{nil, func(node string) { apart = node }}, "action=off\nplug=compute-1\nnodename="+name+"\n"+cloudParams)
		s, found := stored(t, dir, "compute-1")
		if r.code != 0 || !found || s.NodeName() != "compute-1" || apart != "compute-1" || !strings.Contains(r.stderr, "nodename: host name") {
			t.Errorf("%q: %+v %s, kept apart: %s", name, r, s.Encode(), apart)
		}
	}
}

func TestDisableIsOff(t *testing.T) {
	for _, action := range []string{"off", "disable"} {
		dir := t.TempDir()
		r := hook(t, dir, up(), "action="+action+"\nplug=compute-1\nnova_timeout=soon\non_wait=later\n"+cloudParams)
		if _, found := stored(t, dir, "compute-1"); r.code != 0 || !found || !strings.Contains(r.stderr, "nova_timeout") {
			t.Errorf("%s: %+v", action, r)
		}
	}
}

func TestTenOffCallsAreOneGeneration(t *testing.T) {
	dir := t.TempDir()
	for range 10 {
		if r := hook(t, dir, up(), "action=off\nplug=compute-1\n"+cloudParams); r.code != 0 {
			t.Fatal(r)
		}
	}
	if s, _ := stored(t, dir, "compute-1"); s.Gen != 1 {
		t.Errorf("%s", s.Encode())
	}
}

func TestNovaNeverMakesOffFail(t *testing.T) {
	for name, c := range map[string]struct {
		n     *cloud
		stdin string
		says  string
	}{
		"it refuses the connection":    {&cloud{err: errors.New("connection refused")}, cloudParams, "connection refused"},
		"it hangs":                     {&cloud{hang: true}, cloudParams + "nova_timeout=0.05\n", "no answer within 50ms"},
		"our own code panics":          {&cloud{panics: true}, cloudParams, "nova is on fire"},
		"it does not know the host":    {&cloud{services: []nova.Service{{Host: "other"}}}, cloudParams, "pcmk_host_map"},
		"no credentials are given":     {up(), "", "auth_url"},
		"the credentials are nonsense": {up(), cloudParams + "endpoint_type=sideways\n", "endpoint_type"},
		"the bound is nonsense":        {up(), cloudParams + "nova_timeout=soon\n", "nova_timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			r := hook(t, dir, c.n, "action=off\nplug=compute-1\n"+c.stdin)
			if _, found := stored(t, dir, "compute-1"); r.code != 0 || !found {
				t.Errorf("%+v, recorded: %v", r, found)
			}
			if !strings.Contains(r.stderr, c.says) {
				t.Errorf("stderr does not mention %q: %s", c.says, r.stderr)
			}
		})
	}
}

func TestOffFailsWhenNothingIsRecorded(t *testing.T) {
	if r := hook(t, "", up(), "action=off\nplug=compute-1\n"+cloudParams); r.code != 1 || !strings.Contains(r.stderr, "NOT recorded") {
		t.Errorf("%+v", r)
	}
	for _, stdin := range []string{"action=off\n", "action=off\nplug=../x\n"} {
		if r := hook(t, t.TempDir(), up(), stdin+cloudParams); r.code != 1 || !strings.Contains(r.stderr, "plug") {
			t.Errorf("%+v", r)
		}
	}
}

func TestAServiceThatIsDownAndDisabledIsLeftAlone(t *testing.T) {
	n := &cloud{services: []nova.Service{{Host: "compute-1", ForcedDown: true, DisabledReason: "disk being replaced"}}}
	if r := hook(t, t.TempDir(), n, "action=off\nplug=compute-1\n"+cloudParams); r.code != 0 || n.forced != nil {
		t.Errorf("%+v %v", r, n.forced)
	}
}

func TestOnNotesTheReturnAndSucceedsAtOnce(t *testing.T) {
	dir := t.TempDir()
	if r := hook(t, dir, up(), "action=on\nplug=compute-1\n"); r.code != 0 {
		t.Errorf("a host without a record: %+v", r)
	}
	hook(t, dir, up(), "action=off\nplug=compute-1\n"+cloudParams)
	if r := hook(t, dir, &cloud{hang: true}, "action=on\nplug=compute-1\n"); r.code != 0 {
		t.Errorf("%+v", r)
	}
	if s, _ := stored(t, dir, "compute-1"); s.Back != record.BackOn || s.Phase != record.Fenced {
		t.Errorf("%s", s.Encode())
	}
	if r := hook(t, dir, up(), "action=on\nplug=compute-1\non_wait=0.05\n"); r.code != 1 || !strings.Contains(r.stderr, "on_wait") {
		t.Errorf("waited for a host that nobody evacuates: %+v", r)
	}
	if r := hook(t, dir, up(), "action=off\nplug=compute-1\n"+cloudParams); r.code != 0 {
		t.Fatal(r)
	}
	if s, _ := stored(t, dir, "compute-1"); s.Gen != 2 {
		t.Errorf("fenced again after it was back: %s", s.Encode())
	}
}

func TestStatus(t *testing.T) {
	dir := t.TempDir()
	if r := hook(t, dir, up(), "action=status\nplug=compute-1\n"+cloudParams); r.code != 0 || r.stdout != "Status: ON\n" {
		t.Errorf("a host that is up: %+v", r)
	}
	if r := hook(t, dir, &cloud{err: errors.New("503")}, "action=status\nplug=compute-1\n"+cloudParams); r.code != 0 {
		t.Errorf("Nova being away makes the device unable to fence: %+v", r)
	}
	hook(t, dir, up(), "action=off\nplug=compute-1\n"+cloudParams)
	if r := hook(t, dir, &cloud{hang: true}, "action=status\nplug=compute-1\n"+cloudParams); r.code != 2 || r.stdout != "Status: OFF\n" {
		t.Errorf("a recorded host: %+v", r)
	}
	down := &cloud{services: []nova.Service{{Host: "compute-9", ForcedDown: true}}}
	if r := hook(t, dir, down, "action=status\nplug=compute-9\n"+cloudParams); r.code != 2 {
		t.Errorf("a host that somebody forced down: %+v", r)
	}
}

func TestMonitorAsksTheRecordsAndNotNova(t *testing.T) {
	if r := hook(t, t.TempDir(), &cloud{panics: true}, "action=monitor\n"+cloudParams); r.code != 0 {
		t.Errorf("%+v", r)
	}
	if r := hook(t, "", up(), "action=monitor\n"+cloudParams); r.code != 1 {
		t.Errorf("%+v", r)
	}
}

func TestList(t *testing.T) {
	dir := t.TempDir()
	want := "compute-1,\ncompute-1.example.org,\ncompute-2,\ncompute-2.example.org,\n"
	if r := hook(t, dir, up(), "action=list\n"+cloudParams); r.code != 0 || r.stdout != want {
		t.Errorf("%+v", r)
	}
	hook(t, dir, up(), "action=off\nplug=compute-7\n"+cloudParams)
	if r := hook(t, dir, &cloud{err: errors.New("503")}, "action=list-status\n"+cloudParams); r.code != 0 || r.stdout != "compute-7,,UNKNOWN\n" {
		t.Errorf("without Nova: %+v", r)
	}
}

func TestOtherActions(t *testing.T) {
	for _, c := range []struct {
		name, stdin    string
		args           []string
		code           int
		stdout, stderr string
	}{
		{"metadata", "action=metadata\n", nil, 0, agents.FenceMetadata(), ""},
		{"metadata by its old name on the command line", "", []string{"-o", "meta-data"}, 0, agents.FenceMetadata(), ""},
		{"a reboot is refused with advice", "action=reboot\nplug=h\n", nil, 1, "", "reboot"},
		{"an unknown action", "action=dance\n", nil, 1, "", `"dance"`},
		{"valid parameters", "action=validate-all\n" + cloudParams, nil, 0, "", ""},
		{"a missing one", "action=validate-all\nlogin=x\npasswd=s3cret\n", nil, 1, "", "auth_url"},
		{"record_only=Disabled does nothing", "action=off\nrecord_only=Disabled\n", nil, 0, "", "nothing is recorded"},
		{"the version", "", []string{"-V"}, 0, "1.2.3\n", ""},
		{"an unknown option", "", []string{"-z"}, 1, "", `"-z"`},
		{"a mistyped option", "", []string{"--acton=status", "--plug=compute-1", "--force"}, 1, "", `"--acton"`},
		{"a mistyped option before another one", "", []string{"--acton", "--plug=compute-1"}, 1, "", `"--acton"`},
		{"an option of another agent", "", []string{"--plug=compute-1", "--force", "--ipaddr", "bmc"}, 1, "", `"--ipaddr"`},
		{"an option without its value", "", []string{"--plug"}, 1, "", "--plug"},
		{"a host by its old name", "action=status\nport=compute-1\n" + cloudParams, nil, 0, "Status: ON\n", ""},
		{"a bound of zero is the default", "action=monitor\nnova_timeout=0\non_wait=0\n", nil, 0, "", ""},
		{"a bound that is no time", "action=monitor\nnova_timeout=soon\n", nil, 1, "", `nova_timeout is "soon"`},
		{"a stray word", "", []string{"off"}, 1, "", `"off"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			r := hook(t, dir, up(), c.stdin, c.args...)
			if r.code != c.code || c.stdout != "" && r.stdout != c.stdout || !strings.Contains(r.stderr, c.stderr) {
				t.Errorf("%+v", r)
			}
			if _, err := os.Stat(filepath.Join(dir, "records")); err == nil {
				t.Error("something was recorded")
			}
		})
	}
}

func TestOptionsOnTheCommandLine(t *testing.T) {
	got, err := fromArgs([]string{"-o", "off", "-ncompute-1", "--auth-url=http://k", "--tenant-name", "t", "--insecure", "-v", "--on-wait=5", "-q", "-D", "/log", "--login", "me"})
	want := map[string]string{"action": "off", "plug": "compute-1", "auth_url": "http://k", "tenant_name": "t", "insecure": "1", "verbose": "1", "on_wait": "5",
		"quiet": "1", "debug_file": "/log", "login": "me"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestEveryOptionHasOneMeaning(t *testing.T) {
	seen := map[string]string{}
	for _, o := range options() {
		for _, spelling := range []string{"-" + o.letter, "--" + o.name} {
			if other, twice := seen[spelling]; twice && spelling != "-" {
				t.Errorf("%s is %s and %s", spelling, other, o.name)
			}
			seen[spelling] = o.name
		}
	}
}

func TestTheHelpListsEveryOption(t *testing.T) {
	r := hook(t, t.TempDir(), up(), "", "--help")
	for _, p := range config.Offered(config.FenceAgent) {
		if r.code != 0 || !strings.Contains(r.stdout, "--"+strings.ReplaceAll(p.Name, "_", "-")) || !strings.Contains(r.stdout, p.Short) {
			t.Errorf("%s is not in %s", p.Name, r.stdout)
		}
	}
}

func FuzzStdin(f *testing.F) {
	f.Add("action=off\nplug=\"a\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		given, err := fromStdin(strings.NewReader(text))
		for name := range given {
			if err == nil && strings.ContainsAny(name, "-\n") {
				t.Errorf("%q", name)
			}
		}
	})
}

func TestAServiceOfThePastIsNotForcedDown(t *testing.T) {
	silent := t0.Add(-48 * time.Hour)
	for name, c := range map[string]struct {
		services []nova.Service
		says     string
	}{
		"it was renamed, and the old service was left": {
			[]nova.Service{{Host: "compute-1", Enabled: true, Updated: silent}, {Host: "compute-1.example.org", Up: true, Enabled: true, Updated: t0}},
			"the name fits compute-1, which is silent since 2026-02-27T03:00:00Z, and compute-1.example.org"},
		"it has quite another name": {
			[]nova.Service{{Host: "compute-1", Enabled: true, Updated: silent}, {Host: "hv-1", Up: true, Enabled: true, Updated: t0}},
			"compute-1 is silent since 2026-02-27T03:00:00Z, and may be a name of the past"},
		"its name fits two": {
			[]nova.Service{{Host: "compute-1.a.org", Up: true, Updated: t0}, {Host: "compute-1.b.org", Up: true, Updated: t0}},
			"the name fits compute-1.a.org, compute-1.b.org"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, n := t.TempDir(), &cloud{services: c.services}
			r := hook(t, dir, n, "action=off\nplug=compute-1\n"+cloudParams)
			if _, found := stored(t, dir, "compute-1"); r.code != 0 || !found || len(n.forced) > 0 || !strings.Contains(r.stderr, c.says) {
				t.Errorf("%+v, forced down: %v", r, n.forced)
			}
		})
	}
}

func TestOnFindsTheRecordUnderAnotherName(t *testing.T) {
	for name, r := range map[string]record.Record{
		"by hand, under Nova's name":    record.NewlyFenced("compute-1.example.org", "", t0),
		"under a plug that was changed": record.NewlyFenced("nova-1", "node-1", t0),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := (cib.File{Path: filepath.Join(dir, "records")}).Create(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			got := hook(t, dir, up(), "action=on\nplug=compute-1\nnodename=node-1\n"+cloudParams)
			if s, found := stored(t, dir, r.Host); got.code != 0 || !found || s.Back != record.BackOn {
				t.Errorf("%+v %s", got, s.Encode())
			}
		})
	}
}
