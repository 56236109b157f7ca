// Package ocf is the OCF resource agent nova-evacuate: it starts, asks and stops the
// supervisor of this node. The agent itself evacuates nothing.
package ocf

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	agents "github.com/nova-evac/nova-evac/ocf"
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/config"
	"github.com/nova-evac/nova-evac/pkg/control"
	"github.com/nova-evac/nova-evac/pkg/safefile"
)

// Exit codes of the OCF resource agent API, 1.1.
const (
	Success       = 0
	ErrGeneric    = 1
	ErrArgs       = 2
	Unimplemented = 3
	ErrPerm       = 4
	ErrInstalled  = 5
	ErrConfigured = 6
	NotRunning    = 7
)

// Agent is the resource agent.
type Agent struct {
	// Env looks up a variable; OCF_RESKEY_name is the parameter name.
	Env func(name string) string
	// Command starts the supervisor: a program and its arguments. The arguments for this
	// instance are added. The program reads its configuration from standard input.
	Command []string
	// CloudsDirs are the directories to look for clouds.yaml in; nil is the usual ones.
	CloudsDirs []string

	Stdout, Stderr io.Writer
}

const (
	// monitorTime bounds the wait for the supervisor's answer. A supervisor that takes
	// longer hangs.
	monitorTime = 3 * time.Second
	// margin is the part of its timeout that an action leaves unused, so that it can say
	// what went wrong before it would be killed.
	margin = 2 * time.Second
	// defaultTime is an action's timeout where Pacemaker gives none, as in the metadata.
	defaultTime = 20 * time.Second
)

// actionError is an action's result with its exit code.
type actionError struct {
	code int
	err  error
}

func (e *actionError) Error() string { return e.err.Error() }

func failed(code int, format string, args ...any) error {
	return &actionError{code, fmt.Errorf(format, args...)}
}

// Run carries out one action and returns its exit code.
func (a *Agent) Run(ctx context.Context, args []string) int {
	action := ""
	if len(args) > 0 {
		action = args[0]
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout()-margin)
	defer cancel()
	err := a.do(ctx, action)
	if err == nil {
		return Success
	}
	// Pacemaker shows what follows the prefix as the action's exit reason.
	reason := strings.ReplaceAll(err.Error(), "\n", "; ")
	fmt.Fprintf(a.Stderr, "ocf-exit-reason:%s\n", reason)
	var known *actionError
	if errors.As(err, &known) {
		return known.code
	}
	return ErrGeneric
}

func (a *Agent) do(ctx context.Context, action string) error {
	switch action {
	case "meta-data", "metadata":
		fmt.Fprint(a.Stdout, agents.OCFMetadata())
		return nil
	case "usage", "help":
		fmt.Fprintln(a.Stdout, "usage: nova-evacuate start|stop|monitor|validate-all|meta-data")
		return nil
	case "start":
		return a.start(ctx)
	case "stop":
		return a.stop(ctx)
	case "monitor", "status":
		return a.monitor(ctx)
	case "validate-all":
		_, err := a.validate()
		return err
	}
	return failed(Unimplemented, "%q is not an action of this agent: it knows start, stop, monitor, validate-all and meta-data", action)
}

// timeout is the time that Pacemaker gives the action.
func (a *Agent) timeout() time.Duration {
	if ms, err := strconv.Atoi(a.Env("OCF_RESKEY_CRM_meta_timeout")); err == nil && ms > 0 {
		return max(time.Duration(ms)*time.Millisecond, 2*margin)
	}
	return defaultTime
}

// parameter gives a parameter that the agent itself acts on.
func (a *Agent) parameter(name string) string {
	return cmp.Or(a.Env("OCF_RESKEY_"+name), config.Default(name))
}

func (a *Agent) stateDir() string { return a.parameter("state_dir") }

// foreign says why state_dir cannot be trusted: another user can change it. What he puts there
// is no supervisor's: no pid, no socket, no lock.
func (a *Agent) foreign() error { return safefile.CheckDirectory(a.stateDir()) }

func (a *Agent) logFile() string { return a.parameter("log_file") }

func (a *Agent) socket() string { return filepath.Join(a.stateDir(), "supervisor.sock") }

// validate reads the parameters and refuses a configuration that could not work. The
// agent's environment is Pacemaker's own, so OS_* variables in it mean nothing.
func (a *Agent) validate() (config.Config, error) {
	given := map[string]string{}
	for _, p := range config.Offered(config.OCFAgent) {
		for _, name := range p.Names(config.OCFAgent) {
			given[name] = a.Env("OCF_RESKEY_" + name)
		}
	}
	cfg, warnings, err := config.Load(config.Sources{Given: given, CloudsDirs: a.CloudsDirs})
	for _, w := range warnings {
		fmt.Fprintf(a.Stderr, "WARNING: %s\n", w)
	}
	if err = errors.Join(err, cfg.Validate()); err != nil {
		return cfg, &actionError{ErrConfigured, err}
	}
	for _, name := range []string{"state_dir", "log_file"} {
		if path := a.parameter(name); !filepath.IsAbs(path) {
			return cfg, failed(ErrConfigured, "%s=%s: give an absolute path", name, path)
		}
	}
	return cfg, nil
}

// monitor asks the supervisor, and does nothing else.
func (a *Agent) monitor(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, monitorTime)
	defer cancel()
	response, err := a.ask(ctx)
	switch {
	case err == nil && response.OK:
		return nil
	case err == nil:
		return failed(ErrGeneric, "%s", response.Error)
	case errors.Is(err, control.ErrNotRunning):
		alive, err := a.processes()
		if err != nil {
			return failed(ErrGeneric, "%w", err)
		}
		if len(alive) > 0 {
			return failed(ErrGeneric, "the supervisor, process %d, runs but does not listen at %s", alive[0].pid, a.socket())
		}
		return failed(NotRunning, "the supervisor is not running")
	}
	if ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return failed(ErrGeneric, "the supervisor did not answer within %v: it hangs", monitorTime)
	}
	return failed(ErrGeneric, "%w", err)
}

// ask asks the supervisor how it is.
func (a *Agent) ask(ctx context.Context) (control.Response, error) {
	if err := a.foreign(); err != nil {
		return control.Response{}, fmt.Errorf("%w: %w", control.ErrNotRunning, err)
	}
	return control.Call(ctx, a.socket(), control.Request{Op: control.OpMonitor})
}

// start launches the supervisor and returns when it answers.
func (a *Agent) start(ctx context.Context) error {
	cfg, err := a.validate()
	if err != nil {
		return err
	}
	if err := a.foreign(); err != nil {
		return failed(ErrPerm, "state_dir: %w", err)
	}
	if err := os.MkdirAll(a.stateDir(), 0o700); err != nil {
		return failed(ErrPerm, "state_dir: %w", err)
	}
	starting, err := a.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer starting.Withdraw()
	if a.monitor(ctx) == nil {
		return nil
	}
	alive, err := a.processes()
	if err != nil {
		return failed(ErrGeneric, "%w", err)
	}
	if len(alive) > 0 {
		return failed(ErrGeneric, "a supervisor, process %d, runs already and does not answer; stop it first", alive[0].pid)
	}
	p, exited, err := a.launch(cfg)
	if err != nil {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	sick := errors.New("it does not answer")
	for {
		select {
		case <-exited:
			a.forgetPid(p)
			return failed(ErrGeneric, "the supervisor ended at once: %s", a.lastLogLine())
		case <-ctx.Done():
			p.kill()
			select {
			case <-exited:
				a.forgetPid(p)
				os.Remove(a.socket())
			case <-time.After(margin / 2): // stop finds it
			}
			return failed(ErrGeneric, "the supervisor was started and is not well: %w; see %s", sick, a.logFile())
		case <-tick.C:
		}
		if err := a.monitor(ctx); err == nil {
			return nil
		} else if ctx.Err() == nil {
			sick = err
		}
	}
}

// takeTurn waits until no other start is under way: of two supervisors that start at once
// one ends, and it must not take the other's pid file with it.
func (a *Agent) takeTurn(ctx context.Context) (*cluster.Presence, error) {
	for {
		turn, err := cluster.Announce(a.stateDir(), "start")
		if err == nil {
			return turn, nil
		}
		if !errors.Is(err, cluster.ErrPresent) || ctx.Err() != nil {
			return nil, failed(ErrGeneric, "another start is under way: %w", err)
		}
	}
}

// stop ends the supervisor: first by SIGTERM, so that it can release its claims, then, when
// three quarters of the time are gone, by SIGKILL.
func (a *Agent) stop(ctx context.Context) error {
	alive, err := a.processes()
	if err != nil {
		return failed(ErrGeneric, "%w", err)
	}
	deadline, _ := ctx.Deadline()
	patience := time.Now().Add(time.Until(deadline) * 3 / 4)
	for _, p := range alive {
		p.terminate()
	}
	for _, p := range alive {
		if p.gone(ctx, time.Until(patience)) {
			continue
		}
		fmt.Fprintf(a.Stderr, "WARNING: the supervisor, process %d, did not end by SIGTERM in time: it is killed\n", p.pid)
		p.kill()
		if !p.gone(ctx, time.Until(deadline)) {
			return failed(ErrGeneric, "process %d does not end, not even by SIGKILL", p.pid)
		}
	}
	if a.foreign() != nil {
		return nil // no supervisor of ours has anything there
	}
	// Who still holds the lock, or listens, is a supervisor whose process cannot be seen
	// from here. Removing its socket would only hide it.
	if held, err := cluster.Held(a.stateDir(), cluster.SupervisorPresence); err != nil || held {
		return failed(ErrGeneric, "a supervisor that cannot be seen from here holds %s: %w", a.stateDir(), cmp.Or(err, cluster.ErrPresent))
	}
	if _, err := a.ask(ctx); !errors.Is(err, control.ErrNotRunning) {
		return failed(ErrGeneric, "a supervisor that cannot be seen from here listens at %s", a.socket())
	}
	for _, path := range []string{a.pidFile(), a.socket()} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return failed(ErrGeneric, "clean up: %w", err)
		}
	}
	return nil
}

// forgetPid removes the pid file of a process that has ended, and no other.
func (a *Agent) forgetPid(p process) {
	if noted, _ := a.noted(); noted == p {
		os.Remove(a.pidFile())
	}
}

func (a *Agent) lastLogLine() string {
	data, err := os.ReadFile(a.logFile())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return lines[len(lines)-1]
}
