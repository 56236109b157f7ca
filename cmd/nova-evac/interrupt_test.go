package main

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/control"
	"github.com/nova-evac/nova-evac/pkg/novasim"
	"github.com/nova-evac/nova-evac/pkg/novasim/api"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// output is what a process has printed by now.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// interrupted runs a command, with a standard input that stays open, until ready, and then
// sends it a signal. It gives the exit code, -1 where the signal killed it.
func interrupted(t *testing.T, url string, signal syscall.Signal, ready func(printed string) bool, args ...string) (code int, printed string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out output
	cmd := exec.Command(self)
	cmd.Args = args
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(os.Environ(), "OS_AUTH_URL="+url+"/v3", "OS_USERNAME=admin", "OS_PASSWORD=secret", "OS_PROJECT_NAME=admin")
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	for end := time.Now().Add(15 * time.Second); !ready(out.String()); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			_ = cmd.Process.Kill()
			t.Fatalf("it is not as far as that: %s", out.String())
		}
	}
	if err := cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// caught waits until the process of a command has had the time to catch signals.
func caught(began time.Time) func(string) bool {
	return func(string) bool { return time.Since(began) > 500*time.Millisecond }
}

func TestASignalEndsACommandInGoodOrder(t *testing.T) {
	cloud := novasim.New(novasim.Config{Hosts: []string{"compute-1", "compute-2"}, RebuildTime: time.Hour, ServiceDownTime: 100 * time.Millisecond,
		Instances: []novasim.Batch{{Count: 4, Host: "compute-1"}}})
	server := httptest.NewServer(api.New(cloud, api.Config{}))
	defer server.Close()
	if err := cloud.ChangeHost("compute-1", novasim.HostChange{Power: "off"}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-ended:
		}
	}))
	defer hanging.Close()
	defer close(ended)

	for name, signal := range map[string]syscall.Signal{"SIGINT": syscall.SIGINT, "SIGTERM": syscall.SIGTERM, "SIGHUP": syscall.SIGHUP} {
		t.Run(name, func(t *testing.T) {
			store := cib.File{Path: filepath.Join(t.TempDir(), "r")}
			if _, err := store.Create(t.Context(), record.NewlyFenced("compute-1", "", time.Now())); err != nil {
				t.Fatal(err)
			}
			stored := func() cib.Stored {
				all, err := store.Query(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				s, _ := cib.Find(all, "compute-1")
				return s
			}
			before := stored()
			asked := func(printed string) bool { return strings.Contains(printed, "Go on?") }
			code, printed := interrupted(t, server.URL, signal, asked, "nova-evac", "forget", "--records", store.Path, "compute-1")
			if code != exitNotYet || !strings.Contains(printed, "interrupted; left as it was") || stored() != before {
				t.Errorf("at the question: %d, %s", code, printed)
			}
			code, printed = interrupted(t, hanging.URL, signal, caught(time.Now()), "nova-evac", "host", "--records", store.Path, "compute-2")
			if code != exitNotYet || !strings.Contains(printed, "interrupted") {
				t.Errorf("while Nova hangs: %d, %s", code, printed)
			}
			sent := func(string) bool { s := stored(); return s.Owner != "" && s.Total == 4 }
			code, printed = interrupted(t, server.URL, signal, sent, "nova-evac", "host", "--records", store.Path, "compute-1")
			if s := stored(); code != exitNotYet || s.Owner != "" {
				t.Errorf("at work: %d, %s; the record is %s", code, printed, s.Encode())
			}
			if signal == syscall.SIGHUP {
				return // means something else to a supervisor, and nothing to the hook
			}
			code, printed = interrupted(t, server.URL, signal, caught(time.Now()), "nova-evac", "supervise", "--config-stdin", "--records", store.Path)
			if code != exitNotYet || !strings.Contains(printed, "interrupted") {
				t.Errorf("a supervisor that reads its configuration: %d, %s", code, printed)
			}
			code, printed = interrupted(t, server.URL, signal, caught(time.Now()), "fence_nova_evac")
			if code != 1 || !strings.Contains(printed, "interrupted") {
				t.Errorf("the hook: %d, %s", code, printed)
			}
		})
	}
}

func TestTheBarFitsIntoTheTerminal(t *testing.T) {
	var out bytes.Buffer
	f := &follower{out: &out}
	show := f.bar(&out, 20)
	hosts := []control.Host{{Host: "compute-1.a-very-long-domain.example.org", Phase: "evacuating"}, {Host: "compute-2", Phase: "evacuating"}}
	for done := range 10 {
		hosts[0].Total, hosts[0].Done = 123456, done
		show(hosts)
	}
	for line := range strings.SplitSeq(out.String(), "\r") {
		if n := len([]rune(strings.TrimRight(line, " \n"))); n > barWidth+20 {
			t.Errorf("%d columns: %q", n, line)
		}
	}
	if !strings.Contains(out.String(), "compute-1.a-very-lo…") {
		t.Errorf("%q", out.String())
	}
}
