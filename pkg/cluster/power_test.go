package cluster

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nova-evac/nova-evac/pkg/pacemaker"
)

// printed is an answer in the form in which tools of Pacemaker 2.1.5 print theirs.
func printed(t *testing.T, name string) []byte {
	t.Helper()
	out, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// tools stand in for Pacemaker's. Each prints what it is told to, and writes down how it
// was called.
type tools struct {
	*testing.T
	dir string
}

func fakeTools(t *testing.T) tools {
	t.Helper()
	f := tools{t, t.TempDir()}
	for _, name := range []string{"cibadmin", "attrd_updater", "stonith_admin"} {
		f.says(name, "", 0, "")
	}
	t.Setenv("PATH", f.dir+":"+os.Getenv("PATH"))
	return f
}

// says has a tool print a text, and an error, and exit with a code.
func (f tools) says(tool, out string, code int, trouble string) {
	f.Helper()
	script := fmt.Sprintf(`#!/bin/sh
echo %s "$@" >> %s/calls
cat %[2]s/%[1]s.out
cat %[2]s/%[1]s.err >&2
exit %[3]d
`, tool, f.dir, code)
	for name, text := range map[string]string{tool + ".out": out, tool + ".err": trouble, tool: script} {
		if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o700); err != nil {
			f.Fatal(err)
		}
	}
}

// called is how the tools were called since it was asked last.
func (f tools) called() []string {
	f.Helper()
	path := filepath.Join(f.dir, "calls")
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		f.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		f.Fatal(err)
	}
	return strings.FieldsFunc(string(text), func(c rune) bool { return c == '\n' })
}

// clock is one that stands still until it is told to go on.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func stoppedClock() *clock { return &clock{time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)} }

func TestTheAddressesOfRemoteNodes(t *testing.T) {
	for name, want := range map[string]map[string]string{
		"remote.xml":  {"compute-1": "10.77.0.101:3121"},
		"remotes.xml": {"compute-1": "10.77.0.101:3121", "compute-2": "[fd00::102]:3122", "compute-3": "compute-3:3121"},
	} {
		got, err := parseRemotes(printed(t, name))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
	if got, err := parseRemotes(nil); err != nil || len(got) != 0 {
		t.Errorf("no remote nodes: %v, %v", got, err)
	}
	if _, err := parseRemotes([]byte("<xpath-query><primitive")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("half an answer: %v", err)
	}
}

func TestTheNodesThatAreKeptApart(t *testing.T) {
	for name, want := range map[string][]string{"apart.xml": {"compute-1"}, "aparts.xml": {"compute-1", "compute-3"}} {
		got, err := parseApart(printed(t, name))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
	if _, err := parseApart([]byte("<rsc_location id=")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("half an answer: %v", err)
	}
}

func TestTheGatesLeases(t *testing.T) {
	for text, want := range map[string]map[string]string{
		string(printed(t, "leases.txt")): {"compute-3": "1795571643", "compute-1": "1795571640"},
		`name="nova-evac-gate-holds" host="compute-1" value=""` + "\n" + `name="nova-evac-gate-holds" host="compute-2" value="7"`: {"compute-2": "7"},
		`name="nova-evac-gate-holds" host="compute-1" value="17955`:                                                               {},
		"":                                {},
		"attrd_updater: something else\n": {},
	} {
		if diff := cmp.Diff(want, parseAttributes([]byte(text))); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}

func TestWhatAMachineAnswers(t *testing.T) {
	tool := fakeTools(t)
	tool.says("cibadmin", string(printed(t, "remotes.xml")), 0, "")
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for _, c := range []struct {
		name, node, address string
		err                 error
		want                Answer
	}{
		{"its pacemaker_remote takes connections", "compute-1", "10.77.0.101:3121", nil, Connectable},
		{"another port is its own", "compute-2", "[fd00::102]:3122", nil, Connectable},
		{"a refusal is its kernel's", "compute-3", "compute-3:3121", refused, Answers},
		{"silence", "compute-1", "10.77.0.101:3121", &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, NoAnswer},
		{"nobody knows the way", "compute-1", "10.77.0.101:3121", os.NewSyscallError("connect", syscall.EHOSTUNREACH), NoAnswer},
		{"nobody knows the name", "compute-3", "compute-3:3121", &net.DNSError{Err: "no such host"}, NoAnswer},
		{"it is no remote node", "ctl1", "", nil, NoAnswer},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := NewPower(stoppedClock().now)
			dialled := ""
			p.dial = func(_ context.Context, address string) error { dialled = address; return c.err }
			got, err := p.Answer(t.Context(), c.node)
			if got != c.want || err != nil || dialled != c.address {
				t.Errorf("%v, %v; dialled %q", got, err, dialled)
			}
		})
	}
}

func TestADialIsOneConnection(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := dial(t.Context(), listener.Addr().String()); err != nil {
		t.Error(err)
	}
	listener.Close()
	if err := dial(t.Context(), listener.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestAddressesAreBelievedForAMinute(t *testing.T) {
	tool, clock := fakeTools(t), stoppedClock()
	tool.says("cibadmin", string(printed(t, "remote.xml")), 0, "")
	p := NewPower(clock.now)
	p.dial = func(context.Context, string) error { return nil }
	ask := func(node string) Answer {
		answer, err := p.Answer(t.Context(), node)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	for range 3 {
		if ask("compute-1") != Connectable || ask("compute-3") != NoAnswer {
			t.Error("one node is known, and one is not")
		}
	}
	if n := len(tool.called()); n != 1 {
		t.Errorf("cibadmin was called %d times", n)
	}
	tool.says("cibadmin", string(printed(t, "remotes.xml")), 0, "")
	clock.at = clock.at.Add(61 * time.Second)
	if ask("compute-3") != Connectable {
		t.Error("a node that is new is not known after a minute")
	}
	clock.at = clock.at.Add(61 * time.Second)
	tool.says("cibadmin", "", pacemaker.ExitNoSuch, "Call cib_query failed (-6): No such device or address")
	if ask("compute-1") != NoAnswer {
		t.Error("the last remote node is gone, and answers")
	}
	clock.at = clock.at.Add(61 * time.Second)
	tool.says("cibadmin", "", 102, "Could not connect to the CIB: Transport endpoint is not connected")
	if _, err := p.Answer(t.Context(), "compute-1"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("the cluster is away: %v", err)
	}
}

func TestTheClusterIsAskedAgainAfterAnAnswerThatNobodyCanRead(t *testing.T) {
	tool := fakeTools(t)
	p := NewPower(stoppedClock().now)
	p.dial = func(context.Context, string) error { return nil }
	tool.says("cibadmin", "<primitive", 0, "")
	if _, err := p.Answer(t.Context(), "compute-1"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("half an answer: %v", err)
	}
	tool.says("cibadmin", string(printed(t, "remote.xml")), 0, "")
	if got, err := p.Answer(t.Context(), "compute-1"); got != Connectable || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestAGateIsBelievedThatHasSaidTwoThings(t *testing.T) {
	tool, clock := fakeTools(t), stoppedClock()
	p := NewPower(clock.now)
	for n, step := range []struct {
		after time.Duration
		value string // of compute-1's lease; empty: there is none
		want  Gate
	}{
		{0, "", NoGate},
		{time.Second, "1795571643", GateHeard},      // it may be of one that is gone
		{10 * time.Second, "1795571643", GateHeard}, // and is no proof however often it is read
		{10 * time.Second, "1795571653", GateHolds}, // it lives
		{29 * time.Second, "1795571653", GateHolds}, // a monitor or two may be late
		{time.Second, "1795571653", NoGate},         // not three
		{time.Second, "1795571693", GateHolds},      // it speaks again
		{time.Second, "", NoGate},                   // it has opened
		{time.Second, "1795571703", GateHeard},      // another one, or what the first has left
		{29 * time.Second, "1795571703", GateHeard},
		{time.Second, "1795571703", NoGate}, // what it has left
		{time.Second, "1795571763", GateHolds},
	} {
		clock.at = clock.at.Add(step.after)
		if step.value == "" {
			tool.says("attrd_updater", "", pacemaker.ExitConfig, "attrd_updater: Could not query value of nova-evac-gate-holds: attribute does not exist")
		} else {
			tool.says("attrd_updater", fmt.Sprintf("name=%q host=\"compute-1\" value=%q\nname=%[1]q host=\"compute-2\" value=\"1\"\n", LeaseAttribute, step.value), 0, "")
		}
		if got, err := p.Gate(t.Context(), "compute-1"); got != step.want || err != nil {
			t.Errorf("step %d: %v, %v", n, got, err)
		}
		if got, err := p.Gate(t.Context(), "compute-2"); got == GateHolds || err != nil {
			t.Errorf("step %d: another host's gate holds: %v, %v", n, got, err)
		}
	}
}

func TestOneLookAtTheLeasesServesAllForASecond(t *testing.T) {
	tool, clock := fakeTools(t), stoppedClock()
	p := NewPower(clock.now)
	ask := func() {
		for _, node := range []string{"compute-1", "compute-2", "compute-3"} {
			if _, err := p.Gate(t.Context(), node); err != nil {
				t.Error(err)
			}
		}
	}
	ask()
	clock.at = clock.at.Add(900 * time.Millisecond)
	ask()
	if calls := tool.called(); !slices.Equal(calls, []string{"attrd_updater --name nova-evac-gate-holds --all --query"}) {
		t.Errorf("%q", calls)
	}
	clock.at = clock.at.Add(100 * time.Millisecond)
	ask()
	if calls := tool.called(); len(calls) != 1 {
		t.Errorf("%q", calls)
	}
	clock.at = clock.at.Add(time.Second)
	tool.says("attrd_updater", "", 102, "attrd_updater: Could not connect to the cluster")
	if gate, err := p.Gate(t.Context(), "compute-1"); gate != NoGate || !errors.Is(err, ErrUnavailable) {
		t.Errorf("the cluster is away: %v, %v", gate, err)
	}
}

func TestAHostIsPoweredOnAndOffByItsFencingLevel(t *testing.T) {
	tool := fakeTools(t)
	p := NewPower(stoppedClock().now)
	if err := errors.Join(p.On(t.Context(), "compute-1"), p.Off(t.Context(), "compute-2")); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"stonith_admin --unfence compute-1", "stonith_admin --fence compute-2"}, tool.called()); diff != "" {
		t.Error(diff)
	}
	tool.says("stonith_admin", "", 1, "fencing of compute-2 failed: No such device")
	if err := p.Off(t.Context(), "compute-2"); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "No such device") {
		t.Error(err)
	}
}

func TestANodeIsKeptApartByAConstraintOfOurs(t *testing.T) {
	tool := fakeTools(t)
	tool.says("cibadmin", string(printed(t, "remotes.xml")), 0, "")
	p := NewPower(stoppedClock().now)
	if err := p.KeepApart(t.Context(), "compute-1"); err != nil {
		t.Fatal(err)
	}
	calls := tool.called()
	made, found := strings.CutPrefix(calls[len(calls)-1], "cibadmin --create --scope constraints --xml-text ")
	if !found {
		t.Fatalf("%q", calls)
	}
	if nodes, err := parseApart([]byte(made)); err != nil || !slices.Equal(nodes, []string{"compute-1"}) {
		t.Errorf("%s is not read back: %v, %v", made, nodes, err)
	}
	if diff := cmp.Diff(tokens(t, string(printed(t, "apart.xml"))), tokens(t, made)); diff != "" {
		t.Error(diff)
	}
	tool.says("cibadmin", "", pacemaker.ExitExists, "Call cib_create failed (-76): Name not unique on network")
	if err := p.KeepApart(t.Context(), "compute-1"); err != nil {
		t.Errorf("a second time: %v", err)
	}
	tool.called()
	if err := p.KeepApart(t.Context(), "ctl1"); err != nil || len(tool.called()) != 0 {
		t.Errorf("a node that is no remote node: %v", err)
	}
	tool.says("cibadmin", "", 102, "Could not connect to the CIB")
	if err := p.KeepApart(t.Context(), "compute-1"); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "compute-1") {
		t.Errorf("the cluster is away: %v", err)
	}
}

// tokens is what an XML text says.
func tokens(t *testing.T, text string) (said []string) {
	t.Helper()
	decoder := xml.NewDecoder(strings.NewReader(text))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return said
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok {
			said = append(said, fmt.Sprintf("%s %v", e.Name.Local, e.Attr))
		}
	}
}

func TestANodeThatRejoinsLosesOurConstraint(t *testing.T) {
	tool := fakeTools(t)
	p := NewPower(stoppedClock().now)
	if err := p.Rejoin(t.Context(), "compute-1"); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{`cibadmin --delete --xml-text <rsc_location id="nova-evac-off-compute-1"/>`}, tool.called()); diff != "" {
		t.Error(diff)
	}
	tool.says("cibadmin", "", pacemaker.ExitNoSuch, "Call cib_delete failed (-6): No such device or address")
	if err := p.Rejoin(t.Context(), "compute-1"); err != nil {
		t.Errorf("a second time: %v", err)
	}
	tool.says("cibadmin", "", 102, "Could not connect to the CIB")
	if err := p.Rejoin(t.Context(), "compute-1"); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "compute-1") {
		t.Errorf("the cluster is away: %v", err)
	}
}

func TestWhoIsKeptApart(t *testing.T) {
	tool := fakeTools(t)
	p := NewPower(stoppedClock().now)
	for _, c := range []struct {
		name, out string
		code      int
		want      []string
		away      bool
	}{
		{"nobody", "", pacemaker.ExitNoSuch, nil, false},
		{"one", string(printed(t, "apart.xml")), 0, []string{"compute-1"}, false},
		{"two", string(printed(t, "aparts.xml")), 0, []string{"compute-1", "compute-3"}, false},
		{"the cluster is away", "", 102, nil, true},
	} {
		tool.says("cibadmin", c.out, c.code, "what the tool says of it")
		got, err := p.Apart(t.Context())
		if diff := cmp.Diff(c.want, got); diff != "" || errors.Is(err, ErrUnavailable) != c.away || (err != nil) != c.away {
			t.Errorf("%s: %v %s", c.name, err, diff)
		}
	}
}

func TestAGateAttests(t *testing.T) {
	tool, clock := fakeTools(t), stoppedClock()
	at := clock.at
	for _, holds := range []bool{true, true, false} {
		if err := AttestGate(t.Context(), holds, clock.now()); err != nil {
			t.Error(err)
		}
		clock.at = clock.at.Add(10 * time.Second)
	}
	update := "attrd_updater --name nova-evac-gate-holds --update %d --private --delay 0"
	want := []string{fmt.Sprintf(update, at.UnixMilli()), fmt.Sprintf(update, at.UnixMilli()+10_000), "attrd_updater --name nova-evac-gate-holds --delete"}
	if diff := cmp.Diff(want, tool.called()); diff != "" {
		t.Error(diff)
	}
	tool.says("attrd_updater", "", 102, "attrd_updater: Could not connect to the cluster")
	if err := AttestGate(t.Context(), true, at); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
}

func FuzzWhatCibadminPrints(f *testing.F) {
	for _, name := range []string{"remote.xml", "remotes.xml", "apart.xml", "aparts.xml"} {
		out, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(out)
	}
	f.Fuzz(func(t *testing.T, out []byte) {
		addresses, err := parseRemotes(out)
		for node, address := range addresses {
			if _, _, bad := net.SplitHostPort(address); bad != nil && err == nil && !strings.ContainsAny(address, "[]") {
				t.Errorf("node %q: %q", node, address)
			}
		}
		_, _ = parseApart(out)
		_ = parseAttributes(out)
	})
}
