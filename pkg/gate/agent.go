package gate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	agents "github.com/nova-evac/nova-evac/ocf"
	"github.com/nova-evac/nova-evac/pkg/config"
	"github.com/nova-evac/nova-evac/pkg/ocf"
	"github.com/nova-evac/nova-evac/pkg/pacemaker"
	"github.com/nova-evac/nova-evac/pkg/safefile"
)

// Attribute is the node attribute that the agent sets to open or closed. A location rule
// keeps nova-compute off nodes where it is not open. A node that was fenced has none.
const Attribute = "nova-evac-gate"

// Agent is the OCF resource agent nova-evac-gate, for clusters that start nova-compute
// themselves. None of its actions waits: that would hold up the transition of the whole
// cluster. Instead each monitor looks, as ocf:pacemaker:ping does.
type Agent struct {
	// Look is Gate.Look.
	Look func(ctx context.Context, host string) (held string, err error)
	// Env looks a variable up.
	Env func(name string) string
	// Update sets the node attribute of this node; an empty value deletes it.
	Update func(ctx context.Context, value string) error
	// Attest is as in Gate.
	Attest func(ctx context.Context, holds bool) error

	Stdout, Stderr io.Writer
}

// actionTime bounds one action.
const actionTime = 15 * time.Second

// Run carries one action out and returns its exit code.
func (a *Agent) Run(ctx context.Context, args []string) int {
	ctx, cancel := context.WithTimeout(ctx, actionTime)
	defer cancel()
	action := ""
	if len(args) > 0 {
		action = args[0]
	}
	switch action {
	case "meta-data", "metadata":
		fmt.Fprint(a.Stdout, agents.GateMetadata())
		return ocf.Success
	case "start":
		if err := safefile.CheckDirectory(filepath.Dir(a.mark())); err != nil {
			return a.fail(ocf.ErrPerm, fmt.Errorf("state_dir: %w", err))
		}
		if err := os.MkdirAll(filepath.Dir(a.mark()), 0o700); err != nil {
			return a.fail(ocf.ErrPerm, err)
		}
		if err := os.WriteFile(a.mark(), nil, 0o600); err != nil {
			return a.fail(ocf.ErrPerm, err)
		}
		return a.look(ctx, "closed")
	case "monitor", "status":
		if _, err := os.Stat(a.mark()); errors.Is(err, os.ErrNotExist) {
			return ocf.NotRunning
		}
		return a.look(ctx, "")
	case "stop":
		if err := a.Update(ctx, ""); err != nil {
			return a.fail(ocf.ErrGeneric, err)
		}
		if err := os.Remove(a.mark()); err != nil && !errors.Is(err, os.ErrNotExist) {
			return a.fail(ocf.ErrGeneric, err)
		}
		return ocf.Success
	case "validate-all":
		return ocf.Success
	}
	return a.fail(ocf.Unimplemented, fmt.Errorf("%q is not an action of this agent: it knows start, stop, monitor, validate-all and meta-data", action))
}

// look sets the attribute. Where neither the records nor Nova can be asked, the attribute
// is set to unknown, or left as it is where unknown is empty.
func (a *Agent) look(ctx context.Context, unknown string) int {
	host := a.Env("OCF_RESKEY_host")
	if host == "" {
		host, _ = os.Hostname() // as nova-compute names itself, unless told otherwise
	}
	value := "open"
	held, err := a.Look(ctx, host)
	switch {
	case err != nil:
		fmt.Fprintf(a.Stderr, "WARNING: %v\n", err)
		value = unknown
	case held != "":
		fmt.Fprintf(a.Stderr, "INFO: closed: %s\n", held)
		value = "closed"
	}
	if a.Attest != nil && err == nil {
		if err := a.Attest(ctx, value == "closed"); err != nil {
			fmt.Fprintf(a.Stderr, "WARNING: %v\n", err)
		}
	}
	if value == "" {
		return ocf.Success
	}
	if err := a.Update(ctx, value); err != nil {
		return a.fail(ocf.ErrGeneric, err)
	}
	return ocf.Success
}

func (a *Agent) mark() string {
	return filepath.Join(cmp.Or(a.Env("OCF_RESKEY_state_dir"), config.Default("state_dir")), "gate.active")
}

func (a *Agent) fail(code int, err error) int {
	fmt.Fprintf(a.Stderr, "ocf-exit-reason:%s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	return code
}

// UpdateAttribute sets or deletes the attribute of this node through Pacemaker. crm_attribute
// says of a remote node that it is one; attrd_updater does not, and what it sets there is not
// written on Pacemaker 3.0.0.
func UpdateAttribute(ctx context.Context, value string) error {
	args := []string{"--lifetime", "reboot", "--name", Attribute, "--delete"}
	if value != "" {
		args = []string{"--lifetime", "reboot", "--name", Attribute, "--update", value}
	}
	if _, _, err := pacemaker.Run(ctx, 0, "crm_attribute", args...); err != nil {
		return fmt.Errorf("set the node attribute %s: %w", Attribute, err)
	}
	return nil
}
