package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/config"
	"github.com/nova-evac/nova-evac/pkg/control"
	"github.com/nova-evac/nova-evac/pkg/identity"
	"github.com/nova-evac/nova-evac/pkg/record"
	"github.com/nova-evac/nova-evac/pkg/safefile"
	"github.com/nova-evac/nova-evac/pkg/supervisor"
)

func statusCommand() *cli.Command {
	return &cli.Command{
		Name:      "status",
		Usage:     "show the hosts that are being evacuated",
		ArgsUsage: "[NAME…]",
		Flags: parameterFlags(config.StatusCommand,
			&cli.StringFlag{Name: "output", Usage: "`FORMAT`: table or json", Value: "table"}),
		Action: func(c *cli.Context) error {
			format := c.String("output")
			if format != "table" && format != "json" {
				return misuse("status: --output %s: it can be table or json", format)
			}
			records, _, err := openRecords(c.String("records"))
			if err != nil {
				return err
			}
			hosts, err := currentStatus(c.Context, records, socketPath(c.String("state-dir")), nil)
			if err != nil {
				return err
			}
			names := c.Args().Slice()
			if len(names) > 0 {
				var meant []control.Host
				for _, name := range names {
					of := hostsNamed(hosts, name)
					if len(of) == 0 {
						return &exit{exitFailed, fmt.Errorf("status: there is no record of host %s: it was not fenced, or was let in again", name)}
					}
					meant = append(meant, of...)
				}
				hosts = slices.DeleteFunc(hosts, func(h control.Host) bool {
					return !slices.ContainsFunc(meant, func(m control.Host) bool { return m.Host == h.Host })
				})
			}
			if format == "json" {
				encoder := json.NewEncoder(c.App.Writer)
				encoder.SetIndent("", "  ")
				return encoder.Encode(hosts)
			}
			return printTable(c.App.Writer, hosts, time.Now())
		},
	}
}

// hostsNamed gives the hosts that are meant by a name.
func hostsNamed(hosts []control.Host, name string) []control.Host {
	var recorded []identity.Names
	for _, h := range hosts {
		recorded = append(recorded, identity.Names{Host: h.Host, Node: h.Node})
	}
	var meant []control.Host
	for _, n := range identity.Pick(recorded, name) {
		meant = append(meant, hosts[n])
	}
	return meant
}

// currentStatus gives the state of all hosts. For hosts that the supervisor on this machine
// carries, its counts are newer than those of the records, and replace them.
func currentStatus(ctx context.Context, records cib.Records, socket string, live func() []control.Host) ([]control.Host, error) {
	stored, err := records.Query(ctx)
	if err != nil {
		return nil, err
	}
	if live == nil {
		live = func() []control.Host {
			if safefile.CheckDirectory(filepath.Dir(socket)) != nil {
				return nil // anybody may answer there
			}
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			answer, err := control.Call(ctx, socket, control.Request{Op: control.OpStatus})
			if err != nil {
				return nil // the records are true, but up to five seconds older
			}
			return answer.Hosts
		}
	}
	newer := live()
	hosts := []control.Host{}
	for _, s := range stored {
		h := supervisor.HostStatus(s.Record, s.Err)
		for _, n := range newer {
			if n.Host == h.Host && n.Gen == h.Gen && n.Phase == h.Phase && n.Owner == h.Owner {
				h = n
			}
		}
		hosts = append(hosts, h)
	}
	return hosts, nil
}

func printTable(w io.Writer, hosts []control.Host, now time.Time) error {
	if len(hosts) == 0 {
		_, err := fmt.Fprintln(w, "no host has been fenced")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "HOST\tPHASE\tGEN\tOWNER\tPOWER\tDONE\tFAILED\tLEFT\tSINCE\tUPDATED\tWAITING FOR")
	for _, h := range hosts {
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\t%d/%d\t%d\t%d\t%s\t%s\t%s\n", h.Host, h.Phase, h.Gen, cmp.Or(h.Owner, "-"), cmp.Or(h.Power, "-"),
			h.Done, h.Total, h.Failed, h.Skipped, ago(now, h.Since), ago(now, h.Updated), cmp.Or(oneLine(h.WaitingFor), "-"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, h := range hosts {
		if h.Power == "off" && h.Phase != string(record.Evacuated) {
			fmt.Fprintf(w, "%s is kept off until its instances have left it\n", h.Host)
		}
	}
	return nil
}

// ago gives the time since t, in whole seconds.
func ago(now, t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return max(now.Sub(t).Round(time.Second), 0).String() + " ago"
}
