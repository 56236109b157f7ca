// Command nova-evac brings the instances of dead OpenStack compute hosts back on
// other hosts. It is one binary in several roles: the shell's nova-evac, the OCF
// agent nova-evacuate and the fence agent fence_nova_evac, told apart by the name
// it is called by.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/urfave/cli/v2"

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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args))
}

// run picks the role.
func run(ctx context.Context, args []string) int {
	switch filepath.Base(args[0]) {
	case "nova-evacuate":
		return runOCF(ctx, args[1:])
	case "nova-evac-gate":
		return runGateAgent(ctx, args[1:])
	case "fence_nova_evac":
		return runFence(ctx, args[1:])
	}
	// The agents read their arguments themselves, as their protocols have them.
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
	app := &cli.App{
		Name:                 "nova-evac",
		Usage:                "bring the instances of dead compute hosts back on other hosts",
		Description:          "Exit codes: 0 done, 1 failed, 2 misuse, 3 not done yet, 4 cannot reach Nova, 5 cannot reach the CIB.",
		EnableBashCompletion: true,
		HideVersion:          true,
		Commands: []*cli.Command{
			hostCommand(), statusCommand(), holdCommand(), resumeCommand(), admitCommand(), forgetCommand(), gateCommand(),
			superviseCommand(), versionCommand(),
			{Name: "ocf", Usage: "act as the OCF agent ocf:openstack:nova-evacuate", ArgsUsage: "ACTION", SkipFlagParsing: true},
			{Name: "gate-agent", Usage: "act as the OCF agent ocf:openstack:nova-evac-gate", ArgsUsage: "ACTION", SkipFlagParsing: true},
			{Name: "fence", Usage: "act as the fence agent fence_nova_evac", ArgsUsage: "[OPTIONS]", SkipFlagParsing: true},
		},
		CommandNotFound: func(c *cli.Context, name string) {},
		OnUsageError:    usageError,
		ExitErrHandler:  func(*cli.Context, error) {},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return misuse("there is no command %q; 'nova-evac help' lists them", c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
	}
	for _, command := range app.Commands {
		command.OnUsageError = usageError
	}
	err := app.RunContext(ctx, args)
	if err != nil && err.Error() != "" {
		fmt.Fprintf(os.Stderr, "nova-evac: %v\n", err)
	}
	return exitCode(err)
}

// exit is an error that knows its exit code.
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

func usageError(_ *cli.Context, err error, _ bool) error { return &exit{exitMisuse, err} }

// exitCode tells what became of a command.
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
