package ocf

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/config"
	"github.com/nova-evac/nova-evac/pkg/pacemaker"
	"github.com/nova-evac/nova-evac/pkg/safefile"
)

// process is a supervisor's process. Its start time tells it from a later process with the
// same pid.
type process struct {
	pid     int
	started string
}

func (a *Agent) pidFile() string { return filepath.Join(a.stateDir(), "supervisor.pid") }

// processes gives the supervisors of this state_dir that live. Those who hold its presence
// are known even where the pid file is gone, or the whole directory; the pid file has one
// that was started and does not hold it yet.
func (a *Agent) processes() ([]process, error) {
	pids, err := cluster.Holders(a.stateDir(), cluster.SupervisorPresence)
	if err != nil {
		return nil, err
	}
	var all []process
	for _, pid := range pids {
		if _, started := stat(pid); started != "" {
			all = append(all, process{pid, started})
		}
	}
	if p, alive := a.noted(); alive && !slices.Contains(all, p) {
		all = append(all, p)
	}
	return all, nil
}

// noted reads the pid file. alive is false where the file is missing, is another user's, or
// names a process that is dead or not the supervisor.
func (a *Agent) noted() (p process, alive bool) {
	if a.foreign() != nil {
		return p, false
	}
	data, err := os.ReadFile(a.pidFile())
	if err != nil {
		return p, false
	}
	pid, started, _ := strings.Cut(strings.TrimSpace(string(data)), " ")
	if p.pid, err = strconv.Atoi(pid); err != nil || p.pid < 2 || started == "" {
		return p, false
	}
	p.started = started
	return p, p.alive()
}

// alive compares the start time. A zombie has ended, unless other threads of it live: they
// still hold its files and its socket.
func (p process) alive() bool {
	state, started := stat(p.pid)
	if started != p.started {
		return false
	}
	if state != "Z" && state != "X" {
		return true
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", p.pid))
	return err == nil && len(threads) > 1
}

// stat reads a process's state and start time, in clock ticks since the boot
// (proc(5), /proc/pid/stat, fields 3 and 22). Both are empty where it is gone.
func stat(pid int) (state, started string) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", ""
	}
	// The second field, the command, may hold spaces and parentheses.
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(fields) < 20 {
		return "", ""
	}
	return fields[0], fields[19]
}

// LogMode is the mode of a log file that is made anew.
const LogMode = 0o640

// launch starts the supervisor in a session of its own and hands it its
// configuration through a pipe: neither its arguments nor its environment hold a
// secret. exited is closed when it ends.
func (a *Agent) launch(cfg config.Config) (p process, exited <-chan struct{}, err error) {
	if err := os.MkdirAll(filepath.Dir(a.logFile()), 0o750); err != nil {
		return p, nil, failed(ErrPerm, "log_file: %w", err)
	}
	log, err := safefile.OpenAppend(a.logFile(), LogMode)
	if err != nil {
		return p, nil, failed(ErrPerm, "log_file: %w", err)
	}
	defer log.Close()
	args := append(a.Command[1:len(a.Command):len(a.Command)], "--state-dir", a.stateDir())
	if node := a.Env("OCF_RESKEY_CRM_meta_on_node"); node != "" {
		args = append(args, "--node", node)
	}
	cmd := exec.Command(a.Command[0], args...)
	cmd.Env = childEnv()
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return p, nil, failed(ErrGeneric, "start the supervisor: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return p, nil, failed(ErrInstalled, "start the supervisor: %w", err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its log says how it ended
		close(done)
	}()
	p.pid = cmd.Process.Pid
	_, p.started = stat(p.pid)
	err = cfg.Encode(stdin)
	if cerr := stdin.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = writePid(a.pidFile(), p)
	}
	if err != nil {
		p.kill()
		return p, nil, failed(ErrGeneric, "start the supervisor: %w", err)
	}
	return p, done, nil
}

// childEnv is the supervisor's environment. It includes the proxies of the cluster's own
// environment.
func childEnv() []string {
	env := append(pacemaker.Environ(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root")
	for _, name := range []string{"http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"} {
		if value := os.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

func writePid(path string, p process) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, fmt.Appendf(nil, "%d %s\n", p.pid, p.started), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// terminate asks the process to end, even if it was stopped by SIGSTOP.
func (p process) terminate() {
	if p.alive() {
		_ = syscall.Kill(p.pid, syscall.SIGTERM) // it may end by itself just now
		_ = syscall.Kill(p.pid, syscall.SIGCONT)
	}
}

// kill ends the process, and all that it started where it has a group of its own.
func (p process) kill() {
	if !p.alive() {
		return
	}
	whom := p.pid
	if group, err := syscall.Getpgid(p.pid); err == nil && group == p.pid {
		whom = -p.pid
	}
	_ = syscall.Kill(whom, syscall.SIGKILL) // it may end by itself just now
}

// gone waits until the process has ended.
func (p process) gone(ctx context.Context, patience time.Duration) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for p.alive() {
		select {
		case <-tick.C:
		case <-timer.C:
			return !p.alive()
		case <-ctx.Done():
			return !p.alive()
		}
	}
	return true
}
