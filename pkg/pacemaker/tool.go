// Package pacemaker runs Pacemaker's command line tools.
package pacemaker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Timeout bounds a call of a tool by default. The tools' own bounds are 30 seconds and
// more, longer than most actions of an agent may take.
const Timeout = 10 * time.Second

// Exit codes of the tools that a caller tells apart (crm_exit_t in Pacemaker's
// include/crm/common/results.h).
const (
	ExitConfig = 78  // CRM_EX_CONFIG: attrd_updater has no such attribute
	ExitNoSuch = 105 // CRM_EX_NOSUCH: the XPath matches nothing
	ExitExists = 108 // CRM_EX_EXISTS: an element of this id is there already
)

// Run calls a tool and returns its output and its exit code, -1 where there is none. The
// error of a failure has the first line of the tool's standard error. A timeout of 0 is
// Timeout.
func Run(ctx context.Context, timeout time.Duration, name string, args ...string) (out []byte, code int, err error) {
	if timeout == 0 {
		timeout = Timeout
	}
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if deadline, _ := ctx.Deadline(); time.Until(deadline) < timeout {
		timeout = time.Until(deadline).Round(10 * time.Millisecond) // the caller's own may be nearer
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = Environ()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err = cmd.Run(); err == nil {
		return stdout.Bytes(), 0, nil
	}
	code = -1
	var exit *exec.ExitError
	switch {
	case errors.Is(caller.Err(), context.Canceled):
		err = errors.New("interrupted")
	case ctx.Err() != nil:
		err = fmt.Errorf("no answer within %v", timeout)
	case errors.As(err, &exit):
		code = exit.ExitCode()
		line, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
		err = fmt.Errorf("%w: %s", err, line)
	}
	return nil, code, fmt.Errorf("%s: %w", name, err)
}

// Environ is the environment for Pacemaker's tools and for other child processes. It has
// no variable in which a password can be, such as the shell's OS_PASSWORD or an agent's
// OCF_RESKEY_password.
func Environ() []string {
	env := []string{"LC_ALL=C"}
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if name == "PATH" || name == "HOME" || strings.HasPrefix(name, "PCMK_") || strings.HasPrefix(name, "CIB_") {
			env = append(env, kv)
		}
	}
	return env
}
