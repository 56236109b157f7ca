// Command nova-evac brings the instances of dead OpenStack compute hosts back on other
// hosts. It is one binary in several roles: the shell's nova-evac, the OCF agents
// nova-evacuate and nova-evac-gate, and the fence agent fence_nova_evac. The name by which
// it is called selects the role.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/nova"
)

// version is set by the Makefile.
var version = "development"

// Exit codes of the shell's commands, as README documents them.
const (
	exitDone     = 0
	exitFailed   = 1
	exitMisuse   = 2
	exitNotYet   = 3
	exitNoNova   = 4
	exitNoRecord = 5
)

func main() {
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) // a core would hold the password
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args))
}

// run selects the role.
func run(ctx context.Context, args []string) int {
	switch filepath.Base(args[0]) {
	case "nova-evacuate":
		return runOCF(ctx, args[1:])
	case "nova-evac-gate":
		return runGateAgent(ctx, args[1:])
	case "fence_nova_evac":
		return runFence(ctx, args[1:])
	}
	// The agents parse their arguments themselves, as their protocols require.
	if len(args) > 1 {
		switch args[1] {
		case "ocf":
			return runOCF(ctx, args[2:])
		case "gate-agent":
			return runGateAgent(ctx, args[2:])
		case "fence":
			return runFence(ctx, args[2:])
		}
	}
	return shell(ctx, args)
}

func shell(ctx context.Context, args []string) int {
	var unknown error // what help was asked about
	app := &cli.App{
		Name:                 "nova-evac",
		Usage:                "bring the instances of dead compute hosts back on other hosts",
		Description:          "Exit codes: 0 done, 1 failed, 2 misuse, 3 not done yet, 4 cannot reach Nova, 5 cannot reach the CIB.",
		EnableBashCompletion: true,
		HideVersion:          true,
		Writer:               printed{os.Stdout},
		ErrWriter:            printed{os.Stderr},
		Commands:             commands(),
		CommandNotFound:      func(_ *cli.Context, name string) { unknown = noCommand(name) },
		OnUsageError:         usageError,
		ExitErrHandler:       func(*cli.Context, error) {},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return noCommand(c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
	}
	for _, command := range app.Commands {
		command.OnUsageError = usageError
	}
	if len(args) < 2 || args[1] != "supervise" {
		var stop context.CancelFunc
		ctx, stop = hangupEnds(ctx)
		defer stop()
	}
	err := cmp.Or(app.RunContext(ctx, optionsFirst(app.Commands, args)), unknown)
	var known *exit
	if err != nil && ctx.Err() != nil && !errors.As(err, &known) {
		err = &exit{exitNotYet, err} // what failed was interrupted, whatever it was
	}
	if err != nil && err.Error() != "" {
		fmt.Fprintf(app.ErrWriter, "nova-evac: %v\n", err)
	}
	return exitCode(err)
}

func commands() []*cli.Command {
	return []*cli.Command{
		hostCommand(), statusCommand(), holdCommand(), resumeCommand(), admitCommand(), forgetCommand(), gateCommand(),
		superviseCommand(), versionCommand(),
		{Name: "ocf", Usage: "act as the OCF agent ocf:openstack:nova-evacuate", ArgsUsage: "ACTION", SkipFlagParsing: true},
		{Name: "gate-agent", Usage: "act as the OCF agent ocf:openstack:nova-evac-gate", ArgsUsage: "ACTION", SkipFlagParsing: true},
		{Name: "fence", Usage: "act as the fence agent fence_nova_evac", ArgsUsage: "[OPTIONS]", SkipFlagParsing: true},
	}
}

// optionsFirst puts a command's options before its arguments. People also write options
// after a host's name, where urfave/cli would take them for names.
func optionsFirst(commands []*cli.Command, args []string) []string {
	if len(args) < 3 || args[len(args)-1] == "--generate-bash-completion" {
		return args
	}
	n := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.Name == args[1] })
	if n < 0 {
		return args
	}
	hasValue := map[string]bool{}
	for _, flag := range commands[n].Flags {
		for _, name := range flag.Names() {
			hasValue[name] = flag.(cli.DocGenerationFlag).TakesValue()
		}
	}
	var options, names []string
	for rest := args[2:]; len(rest) > 0; rest = rest[1:] {
		switch first := rest[0]; {
		case first == "--":
			return slices.Concat(args[:2], options, rest[:1], names, rest[1:])
		case !strings.HasPrefix(first, "-"):
			names = append(names, first)
		case hasValue[strings.TrimLeft(first, "-")] && len(rest) == 1:
			return slices.Concat(args[:2], options, rest) // the parser says that it lacks its value
		case hasValue[strings.TrimLeft(first, "-")]:
			options = append(options, first, rest[1])
			rest = rest[1:]
		default:
			options = append(options, first)
		}
	}
	return slices.Concat(args[:2], options, names)
}

// exit is an error with an exit code.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }

func misuse(format string, args ...any) error {
	return &exit{exitMisuse, fmt.Errorf(format, args...)}
}

func noCommand(name string) error {
	return misuse("there is no command %q; 'nova-evac help' lists them", name)
}

func usageError(_ *cli.Context, err error, _ bool) error { return &exit{exitMisuse, err} }

// exitCode gives the exit code for a command's error.
func exitCode(err error) int {
	var known *exit
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &known):
		return known.code
	case errors.Is(err, cib.ErrUnavailable), errors.Is(err, cluster.ErrUnavailable), errors.Is(err, cib.ErrConflict):
		return exitNoRecord
	case errors.Is(err, nova.ErrNotSent), errors.Is(err, nova.ErrAnswered), errors.Is(err, nova.ErrUnknownOutcome):
		return exitNoNova
	}
	return exitFailed
}
