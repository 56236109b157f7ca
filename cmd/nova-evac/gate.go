package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/config"
	"github.com/nova-evac/nova-evac/pkg/gate"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// gatePoll is the pause between two looks of the gate.
const gatePoll = 2 * time.Second

func gateCommand() *cli.Command {
	return &cli.Command{
		Name:  "gate",
		Usage: "wait until nova-compute may start on this host (run before it, by systemd)",
		Description: "Waits while the host has a record whose instances have not left it. The records are asked, and where they\n" +
			"cannot be reached, Nova, if a cloud is given. Exit codes: 0 it may start; 3 it may not, the time is over;\n" +
			"5 nobody could say, the time is over.",
		Flags: parameterFlags(config.GateCommand,
			&cli.DurationFlag{Name: "timeout", Usage: "the longest `TIME` to wait, such as 10m; 0 is for ever"},
			&cli.DurationFlag{Name: "open-if-unknown", Usage: "open after this `TIME` although neither the cluster nor Nova could be asked; 0 is never"}),
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return misuse("gate: %q: the host's name is given as --host NAME", c.Args().First())
			}
			for _, name := range []string{"timeout", "open-if-unknown"} {
				if c.Duration(name) < 0 {
					return misuse("gate: --%s %v: give a time above zero, such as 10m", name, c.Duration(name))
				}
			}
			host := c.String("host")
			if host == "" {
				var err error
				if host, err = os.Hostname(); err != nil {
					return err
				}
			}
			if err := record.CheckHost(host); err != nil {
				return misuse("%w", err)
			}
			g, err := newGate(host, config.Sources{Given: given(c), Env: os.Getenv}, c.String("records"))
			if err != nil {
				return err
			}
			g.OpenUnknown = c.Duration("open-if-unknown")
			g.Say = func(text string) { fmt.Fprintf(c.App.ErrWriter, "nova-evac gate: %s\n", text) }
			ctx := c.Context
			if limit := c.Duration("timeout"); limit > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, limit)
				defer cancel()
			}
			err = g.Wait(ctx)
			switch {
			case errors.Is(err, gate.ErrHeld):
				return &exit{exitNotYet, err}
			case errors.Is(err, gate.ErrUnknown):
				return &exit{exitNoRecord, err}
			}
			return err
		},
	}
}

// newGate makes the gate of a host. Nova is asked only where a cloud is given.
func newGate(host string, from config.Sources, path string) (gate.Gate, error) {
	g := gate.Gate{Host: host, Poll: gatePoll}
	var err error
	if g.Records, g.Members, err = openRecords(path); err != nil {
		return g, err
	}
	if path == "" {
		g.Attest, g.Node = attestGate, thisNode
	}
	cfg, _, err := config.Load(from)
	if err != nil {
		return g, &exit{exitMisuse, err}
	}
	if cfg.Nova.AuthURL != "" {
		if err := cfg.Validate(); err != nil {
			return g, &exit{exitMisuse, err}
		}
		client, err := connect(cfg, "gate")
		if err != nil {
			return g, err
		}
		g.Nova = client
	}
	return g, nil
}

// thisNode is the cluster's name of this machine, empty where the cluster does not say.
func thisNode(ctx context.Context) string {
	name, err := cluster.Pacemaker{}.NodeName(ctx)
	if err != nil {
		return "" // the gate asks the cluster other things, and says what is amiss there
	}
	return name
}

// attestGate tells the cluster whether the gate on this node holds nova-compute back.
func attestGate(ctx context.Context, holds bool) error {
	return cluster.AttestGate(ctx, holds, time.Now())
}

// runGateAgent is the OCF agent nova-evac-gate. It asks only the cluster, never Nova.
func runGateAgent(ctx context.Context, args []string) int {
	agent := gate.Agent{
		Look: func(ctx context.Context, host string) (string, error) {
			records, members, err := openRecords("")
			if err != nil {
				return "", err
			}
			return gate.Gate{Host: host, Node: thisNode, Records: records, Members: members}.Look(ctx)
		},
		Env: os.Getenv, Update: gate.UpdateAttribute, Attest: attestGate, Stdout: printed{os.Stdout}, Stderr: printed{os.Stderr},
	}
	return agent.Run(ctx, args)
}
