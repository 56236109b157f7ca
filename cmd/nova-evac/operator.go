package main

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nova-evac/nova-evac/pkg/config"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/record"
	"github.com/nova-evac/nova-evac/pkg/supervisor"
)

func holdCommand() *cli.Command {
	return &cli.Command{
		Name:      "hold",
		Usage:     "keep the evacuation of hosts from beginning, or stop it where it has begun",
		ArgsUsage: "NAME…",
		Flags:     parameterFlags(config.HoldCommand, &cli.StringFlag{Name: "reason", Usage: "`TEXT` for those who read the record"}),
		Action: func(c *cli.Context) error {
			return eachHost(c, false, "held; 'nova-evac resume' has it evacuated", func(o supervisor.Operator, name string) error {
				why := "an operator's 'nova-evac resume " + name + "'"
				if reason := c.String("reason"); reason != "" {
					why += ": " + reason
				}
				return o.Hold(c.Context, name, why)
			})
		},
	}
}

func resumeCommand() *cli.Command {
	return &cli.Command{
		Name:      "resume",
		Usage:     "have held hosts evacuated, whatever holds them",
		ArgsUsage: "NAME…",
		Flags:     parameterFlags(config.ResumeCommand),
		Action: func(c *cli.Context) error {
			return eachHost(c, false, "resumed", func(o supervisor.Operator, name string) error { return o.Resume(c.Context, name) })
		},
	}
}

// yesFlag is for scripts, which cannot be asked.
var yesFlag = &cli.BoolFlag{Name: "yes", Usage: "do not ask", DisableDefaultText: true}

func admitCommand() *cli.Command {
	return &cli.Command{
		Name:      "admit",
		Usage:     "let hosts in that were fenced: force them up, enable them, drop their records",
		ArgsUsage: "NAME…",
		Description: "The supervisors do this by themselves when it is safe. A host that is kept off is powered on. A service\n" +
			"that an operator disabled stays disabled.\n" +
			"Nova refuses a host whose nova-compute was not started since its evacuation.",
		Flags: parameterFlags(config.AdmitCommand, yesFlag),
		Action: func(c *cli.Context) error {
			return eachHost(c, true, "let in", func(o supervisor.Operator, name string) error {
				if err := ask(c, o, name, "its instances are taken for running there from now on, and Nova sends it new ones"); err != nil {
					return err
				}
				err := o.Admit(c.Context, name)
				if errors.Is(err, nova.ErrRefused) {
					err = fmt.Errorf("%w (restart nova-compute on %s, then try again)", err, name)
				}
				return err
			})
		},
	}
}

func forgetCommand() *cli.Command {
	return &cli.Command{
		Name:        "forget",
		Usage:       "drop the records of hosts, and leave them down in Nova",
		ArgsUsage:   "NAME…",
		Description: "In Nova a host stays forced down and disabled, from now on in an operator's name.",
		Flags:       parameterFlags(config.ForgetCommand, yesFlag),
		Action: func(c *cli.Context) error {
			return eachHost(c, true, "forgotten", func(o supervisor.Operator, name string) error {
				if err := ask(c, o, name, "nobody evacuates it or lets it in any more; in Nova it stays forced down and disabled"); err != nil {
					return err
				}
				return o.Forget(c.Context, name)
			})
		},
	}
}

// eachHost does something to each host that is named, and says so.
func eachHost(c *cli.Context, asksNova bool, done string, do func(o supervisor.Operator, name string) error) error {
	names, err := hostNames(c)
	if err != nil {
		return err
	}
	path := c.String("records")
	o := supervisor.Operator{Now: time.Now}
	if asksNova {
		cfg, err := load(c)
		if err != nil {
			return err
		}
		client, err := connect(cfg, "shell")
		if err != nil {
			return err
		}
		o.Nova, o.Domain, path = client, cfg.Domain, cfg.Records
	}
	if o.Records, o.Members, err = openRecords(path); err != nil {
		return err
	}
	o.Power = hostPower(path)
	for _, name := range names {
		if err := do(o, name); err != nil {
			return err
		}
		fmt.Fprintf(c.App.Writer, "%s: %s\n", name, done)
	}
	return nil
}

// ask says what would be lost, and asks whether to go on.
func ask(c *cli.Context, o supervisor.Operator, name, what string) error {
	r, recorded, service, err := o.Find(c.Context, name)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.App.Writer, "%s: %s\n", name, state(r.Record, r.Err, recorded, service))
	fmt.Fprintf(c.App.Writer, "%s: %s\n", name, what)
	if c.Bool("yes") {
		return nil
	}
	fmt.Fprint(c.App.Writer, "Go on? [y/N] ")
	answer, err := bufio.NewReader(stdin(c.Context)).ReadString('\n')
	if errors.Is(err, errInterrupted) {
		fmt.Fprintln(c.App.Writer)
		return &exit{exitNotYet, fmt.Errorf("%w; left as it was", err)}
	}
	if word := strings.ToLower(strings.TrimSpace(answer)); word != "y" && word != "yes" {
		if err != nil && word == "" {
			return misuse("%s: nobody answered; --yes goes on without asking", c.Command.Name)
		}
		return &exit{exitFailed, errors.New("left as it was")}
	}
	return nil
}

// state describes a host to an operator who is about to overrule the supervisors.
func state(r record.Record, malformed error, recorded bool, service nova.Service) string {
	var parts []string
	switch left := r.Total - r.Done; {
	case malformed != nil:
		parts = append(parts, malformed.Error())
	case !recorded:
		parts = append(parts, "it has no record")
	case r.Phase == record.Fenced:
		parts = append(parts, "fenced, and none of its instances has been looked at")
	case r.Unfinished() || left > 0:
		parts = append(parts, fmt.Sprintf("%s, and %d of %d instances have NOT left it", r.Phase, left, r.Total))
	default:
		parts = append(parts, fmt.Sprintf("%s, all %d instances have left it", r.Phase, r.Total))
	}
	if r.Owner != "" {
		parts = append(parts, r.Owner+" is at work on it")
	}
	if service.ForcedDown {
		parts = append(parts, "forced down in Nova")
	}
	if !service.Enabled {
		parts = append(parts, fmt.Sprintf("disabled in Nova (%s)", oneLine(service.DisabledReason)))
	}
	return strings.Join(parts, "; ")
}
