package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/config"
	"github.com/nova-evac/nova-evac/pkg/control"
	"github.com/nova-evac/nova-evac/pkg/evacuate"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/record"
	"github.com/nova-evac/nova-evac/pkg/supervisor"
)

func superviseCommand() *cli.Command {
	return &cli.Command{
		Name:  "supervise",
		Usage: "watch the records and evacuate fenced hosts (started by the OCF agent)",
		Flags: parameterFlags(config.SuperviseCommand,
			&cli.BoolFlag{Name: "config-stdin", Usage: "read the configuration from standard input", Hidden: true},
			&cli.StringFlag{Name: "node", Usage: "the `NAME` of this node, if not the cluster's"}),
		Action: func(c *cli.Context) error {
			if node := c.String("node"); node != "" {
				if err := record.CheckHost(node); err != nil {
					return misuse("supervise: --node: %w", err)
				}
			}
			cfg, err := superviseConfig(c)
			if err != nil {
				return err
			}
			return supervise(c.Context, cfg, c.String("node"), c.String("state-dir"))
		},
	}
}

func superviseConfig(c *cli.Context) (config.Config, error) {
	if !c.Bool("config-stdin") {
		return load(c)
	}
	cfg, err := config.Decode(stdin(c.Context))
	if errors.Is(err, errInterrupted) {
		return cfg, err
	}
	if err != nil {
		return cfg, &exit{exitMisuse, err}
	}
	return cfg, nil
}

// memoryLimit makes Go's runtime use memory sparingly beyond this size: a supervisor must
// leave room for a controller's other services.
const memoryLimit = 64 << 20

// supervise runs the supervisor of this node and its control socket until ctx ends.
func supervise(ctx context.Context, cfg config.Config, node, stateDir string) error {
	debug.SetMemoryLimit(memoryLimit)
	logger, flush := newLog(newLogFile(), cfg.Verbose)
	defer flush()
	system := newToSyslog()
	defer system.lines.flush()
	logger.AddHook(system)
	log := logrus.NewEntry(logger)
	defer onHangup(func() { log.Info("SIGHUP: the log goes on in this file") })()

	records, members, err := openRecords(cfg.Records)
	if err != nil {
		return err
	}
	if node == "" {
		if node, err = nodeName(ctx, cfg.Records); err != nil {
			return err
		}
	}
	if err := makeStateDir(stateDir); err != nil {
		return err
	}
	presence, err := cluster.Announce(stateDir, cluster.SupervisorPresence)
	if err != nil {
		return err
	}
	defer presence.Withdraw()
	if local, ok := members.(cluster.Local); ok {
		member, err := cluster.Announce(local.Dir, node)
		if err != nil {
			return err
		}
		defer member.Withdraw()
	}

	client, err := connect(cfg, "supervisor "+node)
	if err != nil {
		return err
	}
	s := supervisor.New(supervisor.Options{
		Owner: node, Records: records, Members: members, Nova: client, Policy: policy(cfg), Domain: cfg.Domain,
		Guard: supervisor.Guard{Share: cfg.StormShare, Hosts: cfg.StormHosts}, ManualReturn: cfg.ManualReturn,
		Power: hostPower(cfg.Records), KeepOff: cfg.PowerOn == config.PowerOnNever, Refence: cfg.Refence,
		Fencings:  fencings(cfg.Records),
		ShellGone: func() bool { return shellGone(stateDir) }, Now: time.Now, Log: log,
	})
	go warmUp(ctx, client, log)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.Run(ctx) })
	group.Go(func() error {
		return control.Serve(ctx, socketPath(stateDir), s.Handle)
	})
	return group.Wait()
}

// onHangup does something at each SIGHUP, which would end the process otherwise, until stop
// is called.
func onHangup(do func()) (stop func()) {
	hangups, ended := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		for {
			select {
			case <-hangups:
				do()
			case <-ended:
				return
			}
		}
	}()
	return func() {
		signal.Stop(hangups)
		close(ended)
	}
}

// warmUp gets a token in advance, so that a takeover does not wait for Keystone. It logs at
// once when the cloud cannot be reached.
func warmUp(ctx context.Context, client *nova.Client, log *logrus.Entry) {
	if err := client.Check(ctx); err != nil && ctx.Err() == nil {
		log.Warnf("the cloud cannot be reached now: %v; fenced hosts are recorded and evacuated as soon as it can", err)
	}
}

func policy(cfg config.Config) evacuate.Policy {
	p := evacuate.DefaultPolicy
	if cfg.MaxInFlight > 0 {
		p.MaxInFlight = cfg.MaxInFlight
	}
	p.LeaveError, p.ResetStates = cfg.LeaveError, cfg.ResetStates
	if cfg.Nova.Timeout > 0 {
		p.APITime = cfg.Nova.Timeout
	}
	return p
}

func nodeName(ctx context.Context, records string) (string, error) {
	if records == "" {
		return cluster.Pacemaker{}.NodeName(ctx)
	}
	return os.Hostname()
}

// shellPresence is held by a nova-evac that works in a shell of this node.
const shellPresence = "shell"

// shellGone reports whether no nova-evac works in a shell of this node.
func shellGone(stateDir string) bool {
	p, err := cluster.Announce(stateDir, shellPresence)
	if err != nil {
		if !errors.Is(err, cluster.ErrPresent) {
			fmt.Fprintln(os.Stderr, err)
		}
		return false
	}
	p.Withdraw()
	return true
}
