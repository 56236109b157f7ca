package ocf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	agents "github.com/nova-evac/nova-evac/ocf"
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/config"
	"github.com/nova-evac/nova-evac/pkg/control"
)

// TestMain lets this binary stand in for the supervisor, in several tempers.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "supervise" {
		if err := supervise(os.Args[2], os.Args[4]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// supervise does what temper says: be good, end at once, be deaf to SIGTERM, or
// answer that all is not well.
func supervise(temper, stateDir string) error {
	cfg, err := config.Decode(os.Stdin)
	if err != nil {
		return err
	}
	fmt.Printf("started for %s, password given: %v\n", cfg.Nova.Username, cfg.Nova.Password != "")
	for _, kv := range os.Environ() {
		if strings.Contains(kv, "s3cret") || strings.HasPrefix(kv, "OCF_RESKEY") {
			return fmt.Errorf("the environment holds %s", kv)
		}
	}
	presence, err := cluster.Announce(stateDir, cluster.SupervisorPresence)
	if err != nil {
		return err
	}
	defer presence.Withdraw()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	response := control.Response{OK: true}
	switch temper {
	case "ends":
		return fmt.Errorf("no such node")
	case "sick":
		response = control.Response{Error: "the loop is stuck"}
	case "deaf":
		ctx = context.Background()
	}
	return control.Serve(ctx, filepath.Join(stateDir, "supervisor.sock"), func(context.Context, control.Request) control.Response { return response })
}

// instance is the agent with the parameters of one test.
type instance struct {
	t      *testing.T
	dir    string
	temper string
	env    map[string]string
	out    string // what the last action printed
}

func newInstance(t *testing.T, temper string) *instance {
	dir := t.TempDir()
	i := &instance{t: t, dir: dir, temper: temper, env: map[string]string{
		"OCF_RESKEY_auth_url": "http://keystone:5000/v3", "OCF_RESKEY_username": "admin", "OCF_RESKEY_password": "s3cret", "OCF_RESKEY_tenant_name": "admin",
		"OCF_RESKEY_state_dir": filepath.Join(dir, "run"), "OCF_RESKEY_log_file": filepath.Join(dir, "log"), "OCF_RESKEY_CRM_meta_timeout": "6000",
	}}
	t.Setenv("OCF_RESKEY_password", "s3cret") // the child must not see it
	t.Cleanup(func() {
		alive, _ := i.agent(nil, nil).processes()
		for _, p := range alive {
			p.kill()
		}
	})
	return i
}

func (i *instance) agent(stdout, stderr *bytes.Buffer) *Agent {
	return &Agent{Env: func(name string) string { return i.env[name] }, Command: []string{os.Args[0], "supervise", i.temper},
		CloudsDirs: []string{i.dir}, Stdout: stdout, Stderr: stderr}
}

// does carries an action out and expects its exit code.
func (i *instance) does(action string, want int) {
	i.t.Helper()
	var out bytes.Buffer
	if got := i.agent(&out, &out).Run(i.t.Context(), []string{action}); got != want {
		i.t.Errorf("%s: exit code %d, expected %d: %s", action, got, want, out.String())
	}
	i.out = out.String()
	if strings.Contains(i.out, "s3cret") {
		i.t.Errorf("%s shows the password: %s", action, i.out)
	}
}

func (i *instance) says(text string) {
	i.t.Helper()
	if !strings.Contains(i.out, text) {
		i.t.Errorf("printed %q, expected %q in it", i.out, text)
	}
}

func (i *instance) pid() int {
	i.t.Helper()
	alive, err := i.agent(nil, nil).processes()
	if err != nil || len(alive) != 1 {
		i.t.Fatalf("these supervisors run: %v, %v", alive, err)
	}
	return alive[0].pid
}

// stopped waits until every thread of the supervisor has taken its SIGSTOP.
func (i *instance) stopped() {
	i.t.Helper()
	pid := i.pid()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		running := 0
		paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if _, after, found := strings.Cut(string(data), ") "); err == nil && found && !strings.HasPrefix(after, "T") {
				running++
			}
		}
		if running == 0 && len(paths) > 0 {
			return
		}
		if time.Now().After(end) {
			i.t.Fatalf("%d threads of process %d do not stop", running, pid)
		}
	}
}

func TestStartMonitorStop(t *testing.T) {
	i := newInstance(t, "good")
	i.does("monitor", NotRunning)
	i.does("stop", Success)
	i.does("start", Success)
	first := i.pid()
	i.does("start", Success) // and once more
	if i.pid() != first {
		t.Error("started twice")
	}
	i.does("monitor", Success)
	if session, err := unix.Getsid(first); err != nil || session != first {
		t.Errorf("the supervisor is in session %d, expected its own: %v", session, err)
	}
	i.does("stop", Success)
	i.does("monitor", NotRunning)
	left, err := os.ReadDir(i.env["OCF_RESKEY_state_dir"])
	if err != nil || len(left) != 2 || left[0].Name() != "start.alive" || left[1].Name() != "supervisor.alive" {
		t.Errorf("left behind: %v, %v, expected the free locks alone", left, err)
	}
	log, err := os.ReadFile(i.env["OCF_RESKEY_log_file"])
	if err != nil || !strings.Contains(string(log), "password given: true") {
		t.Errorf("the supervisor did not get its configuration: %s, %v", log, err)
	}
}

func TestASupervisorThatHangsFailsMonitorAndIsStopped(t *testing.T) {
	i := newInstance(t, "good")
	i.does("start", Success)
	if err := syscall.Kill(i.pid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	i.stopped()
	i.does("monitor", ErrGeneric)
	i.says("hangs")
	i.does("stop", Success)
	i.does("monitor", NotRunning)
}

func TestASupervisorThatIsDeafIsKilled(t *testing.T) {
	i := newInstance(t, "deaf")
	i.does("start", Success)
	i.does("stop", Success)
	i.says("is killed")
	i.does("monitor", NotRunning)
}

func TestASupervisorThatIsSickFailsMonitorWithItsReason(t *testing.T) {
	i := newInstance(t, "sick")
	i.does("start", ErrGeneric)
	i.says("the loop is stuck")
	i.does("monitor", NotRunning) // start cleans up after itself
}

func TestASupervisorThatEndsAtOnceFailsStartWithItsLastLogLine(t *testing.T) {
	i := newInstance(t, "ends")
	i.does("start", ErrGeneric)
	i.says("ocf-exit-reason:the supervisor ended at once: no such node")
	i.does("monitor", NotRunning)
}

func TestALeftoverPidFileHarmsNothing(t *testing.T) {
	self, started := os.Getpid(), ""
	_, started = stat(self)
	for name, content := range map[string]string{
		"of a dead process":             "2147483646 12345\n",
		"of a process that is not ours": strconv.Itoa(self) + " 1\n",
		"with nonsense":                 "nonsense\n",
		"that is empty":                 "",
	} {
		t.Run(name, func(t *testing.T) {
			i := newInstance(t, "good")
			if err := os.MkdirAll(i.env["OCF_RESKEY_state_dir"], 0o700); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(i.env["OCF_RESKEY_state_dir"], "supervisor.pid")
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			i.does("monitor", NotRunning)
			i.does("start", Success)
			i.does("stop", Success)
		})
	}
	if _, now := stat(self); now != started {
		t.Error("this very process was replaced")
	}
}

func TestStopEndsASupervisorWhoseFilesAreGone(t *testing.T) {
	for name, harm := range map[string]func(dir string) error{
		"its pid file":          func(dir string) error { return os.Remove(filepath.Join(dir, "supervisor.pid")) },
		"its pid file is empty": func(dir string) error { return os.Truncate(filepath.Join(dir, "supervisor.pid"), 0) },
		"its socket":            func(dir string) error { return os.Remove(filepath.Join(dir, "supervisor.sock")) },
		"its lock":              func(dir string) error { return os.Remove(filepath.Join(dir, "supervisor.alive")) },
		"its pid file and lock": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "supervisor.pid")), os.Remove(filepath.Join(dir, "supervisor.alive")))
		},
		"all of them, and the directory": os.RemoveAll,
		"all of them, and the directory is new": func(dir string) error {
			return errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700))
		},
	} {
		t.Run(name, func(t *testing.T) {
			i := newInstance(t, "good")
			i.does("start", Success)
			pid := i.pid()
			if err := harm(i.env["OCF_RESKEY_state_dir"]); err != nil {
				t.Fatal(err)
			}
			if i.pid() != pid {
				t.Error("another process is taken for it")
			}
			_, statErr := os.Stat(filepath.Join(i.env["OCF_RESKEY_state_dir"], "supervisor.sock"))
			if statErr != nil { // nobody can ask it any more, and no second one may start
				i.does("monitor", ErrGeneric)
				i.does("start", ErrGeneric)
				i.says("runs already")
			}
			i.does("stop", Success)
			if alive := syscall.Kill(pid, 0); alive == nil {
				if state, _ := stat(pid); state != "Z" {
					t.Errorf("process %d lives on, in state %s", pid, state)
				}
			}
			i.does("monitor", NotRunning)
			i.does("start", Success)
			i.does("stop", Success)
		})
	}
}

func TestWhatAnotherUserPutsIntoStateDirIsIgnored(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a directory of another user")
	}
	i := newInstance(t, "good")
	dir := i.env["OCF_RESKEY_state_dir"]
	victim := exec.Command("sleep", "600")
	if err := errors.Join(victim.Start(), os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = victim.Process.Kill(); _ = victim.Wait() }()
	_, started := stat(victim.Process.Pid)
	if err := writePid(filepath.Join(dir, "supervisor.pid"), process{victim.Process.Pid, started}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- control.Serve(ctx, filepath.Join(dir, "supervisor.sock"), func(context.Context, control.Request) control.Response {
			return control.Response{OK: true}
		})
	}()
	defer func() { cancel(); <-served }()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(dir, "supervisor.sock")); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("no socket")
		}
	}
	i.does("monitor", Success) // as long as the directory is ours
	if err := os.Chown(dir, 65534, -1); err != nil {
		t.Fatal(err)
	}
	i.does("monitor", NotRunning)
	i.does("start", ErrPerm)
	i.says("belongs to the user 65534")
	i.does("stop", Success)
	if state, now := stat(victim.Process.Pid); now != started || state == "Z" {
		t.Error("his pid file had our process killed")
	}
}

func TestStartsThatRaceEndWithOneSupervisor(t *testing.T) {
	i := newInstance(t, "good")
	var group errgroup.Group
	for range 4 {
		group.Go(func() error {
			var out bytes.Buffer
			if code := i.agent(&out, &out).Run(t.Context(), []string{"start"}); code != Success {
				return fmt.Errorf("%d: %s", code, out.String())
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}

	i.pid() // there is one
	i.does("start", Success)
	i.does("stop", Success)
	i.does("monitor", NotRunning)
}

func TestBadParametersAreErrConfigured(t *testing.T) {
	for name, value := range map[string]string{
		"auth_url": "", "endpoint_type": "sideways", "insecure": "perhaps", "max_in_flight": "0", "state_dir": "here", "log_file": "log", "cacert": "/none",
	} {
		t.Run(name, func(t *testing.T) {
			i := newInstance(t, "good")
			i.env["OCF_RESKEY_"+name] = value
			for _, action := range []string{"validate-all", "start"} {
				i.does(action, ErrConfigured)
				i.says(name)
				if n := strings.Count(i.out, "ocf-exit-reason:"); n != 1 {
					t.Errorf("%s: %d reasons: %s", action, n, i.out)
				}
			}
			i.env["OCF_RESKEY_"+name] = ""
		})
	}
}

func TestOtherActions(t *testing.T) {
	i := newInstance(t, "good")
	i.does("meta-data", Success)
	if i.out != agents.OCFMetadata() {
		t.Error("meta-data printed something else")
	}
	i.does("validate-all", Success)
	i.does("usage", Success)
	i.does("promote", Unimplemented)
	i.does("", Unimplemented)
}

func TestTheTimeoutOfAnActionComesFromPacemaker(t *testing.T) {
	i := newInstance(t, "good")
	for ms, want := range map[string]time.Duration{"": defaultTime, "90000": 90 * time.Second, "10": 2 * margin, "x": defaultTime} {
		i.env["OCF_RESKEY_CRM_meta_timeout"] = ms
		if got := i.agent(nil, nil).timeout(); got != want {
			t.Errorf("%q: %v", ms, got)
		}
	}
}
