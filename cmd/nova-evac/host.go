package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/config"
	"github.com/nova-evac/nova-evac/pkg/control"
	"github.com/nova-evac/nova-evac/pkg/identity"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/record"
	"github.com/nova-evac/nova-evac/pkg/supervisor"
)

func hostCommand() *cli.Command {
	return &cli.Command{
		Name:      "host",
		Usage:     "evacuate dead hosts, and follow until every instance is settled",
		ArgsUsage: "NAME…",
		Description: "NAME is the host's name in Nova. A host of which nothing proves that it is off is refused: --fence has it fenced.\n" +
			"Where a supervisor of the cluster runs, it does the work, as the parameters of its resource say, and this command\n" +
			"follows it; " + strings.Join(workFlags(func(string) bool { return true }), ", ") + " have no effect then.\n" +
			"Otherwise the work is done here, and an interrupted command leaves it to whoever comes next.",
		Flags: parameterFlags(config.HostCommand|config.HostWork,
			&cli.BoolFlag{Name: "fence", Usage: "have the cluster fence the hosts first", DisableDefaultText: true},
			&cli.BoolFlag{Name: "i-have-powered-it-off", Usage: "evacuate hosts of which nothing but your word says that they are off", DisableDefaultText: true},
			&cli.BoolFlag{Name: "detach", Usage: "do not follow: only have the supervisors do it", DisableDefaultText: true}),
		Action: func(c *cli.Context) error {
			names, err := hostNames(c)
			if err != nil {
				return err
			}
			return evacuateByHand(c, names)
		},
	}
}

// workFlags gives the wanted flags of host that count only where host does the work itself.
func workFlags(wanted func(name string) bool) []string {
	var flags []string
	for _, p := range config.Offered(config.HostWork) {
		if wanted(flagName(p)) {
			flags = append(flags, "--"+flagName(p))
		}
	}
	return flags
}

// hostNames are a command's arguments.
func hostNames(c *cli.Context) ([]string, error) {
	names := slices.Compact(slices.Sorted(slices.Values(c.Args().Slice())))
	if len(names) == 0 {
		return nil, misuse("%s: which one? Give its name in Nova: nova-evac %[1]s NAME…", c.Command.Name)
	}
	for _, name := range names {
		if err := record.CheckHost(name); err != nil {
			return nil, misuse("%w", err)
		}
	}
	return names, nil
}

// evacuateByHand records the hosts, does the work where no supervisor runs, and follows it.
func evacuateByHand(c *cli.Context, names []string) error {
	cfg, err := load(c)
	if err != nil {
		return err
	}
	client, err := connect(cfg, "shell")
	if err != nil {
		return err
	}
	records, members, err := openRecords(cfg.Records)
	if err != nil {
		return err
	}
	// First ask whether a supervisor runs: without one, --detach would leave the work undone.
	view, err := members.View(c.Context)
	if err != nil {
		return err
	}
	somebody := false
	for _, runs := range view.Supervisors {
		somebody = somebody || runs
	}
	if c.Bool("detach") && !somebody {
		return &exit{exitFailed, errors.New("no supervisor runs anywhere, so --detach would leave the work undone; " +
			"start the nova-evacuate resource, or leave --detach out to do the work here")}
	}
	if without := workFlags(c.IsSet); somebody && without != nil {
		fmt.Fprintf(c.App.ErrWriter, "nova-evac: a supervisor does the work, as the parameters of its resource say; without effect: %s\n",
			strings.Join(without, ", "))
	}
	hand := supervisor.ByHand{Nova: client, Records: records, Domain: cfg.Domain, Now: time.Now,
		Fencings: fencings(cfg.Records), PoweredOff: c.Bool("i-have-powered-it-off")}
	if cfg.Records == "" {
		hand.Nodes = slices.Collect(maps.Keys(view.Nodes))
	}
	var order []string
	for _, name := range names {
		if c.Bool("fence") {
			if err := fenceFirst(c, view, cfg, records, name); err != nil {
				return err
			}
		}
		s, err := hand.Record(c.Context, name)
		if err != nil {
			return err
		}
		order = append(order, s.Host)
	}
	if c.Bool("detach") {
		fmt.Fprintf(c.App.Writer, "recorded: %s; 'nova-evac status' shows the progress\n", strings.Join(order, ", "))
		return nil
	}
	f := follower{records: records, socket: socketPath(c.String("state-dir")), order: order, out: c.App.Writer}
	if somebody {
		return f.follow(c.Context)
	}
	return workHere(c.Context, cfg, client, records, members, c.String("state-dir"), f)
}

// fenceFirst has the cluster fence the node of a host.
func fenceFirst(c *cli.Context, view cluster.View, cfg config.Config, records cib.Records, host string) error {
	if cfg.Records != "" {
		return misuse("host: --fence needs a cluster, and the records are in a file")
	}
	all, err := records.Query(c.Context)
	if err != nil {
		return err
	}
	names := []string{host}
	if meant := identity.Recorded(all, host); len(meant) == 1 {
		names = []string{meant[0].NodeName(), host}
	}
	node := identity.NodeOf(slices.Collect(maps.Keys(view.Nodes)), names...)
	if node == "" {
		return &exit{exitFailed, fmt.Errorf("host: the cluster knows no node %s; fence it by its name there: stonith_admin --fence NODE", host)}
	}
	fmt.Fprintf(c.App.Writer, "%s: being fenced\n", node)
	return cluster.Pacemaker{}.Fence(c.Context, node)
}

// workHere carries the followed hosts in this process.
func workHere(ctx context.Context, cfg config.Config, client *nova.Client, records cib.Records,
	members supervisor.Membership, stateDir string, f follower) error {
	owner, dir, presence, err := announceShell(ctx, members, stateDir)
	if err != nil {
		return err
	}
	defer presence.Withdraw()
	log, flush := newLog(os.Stderr, cfg.Verbose)
	defer flush()
	if !cfg.Verbose {
		log.SetLevel(logrus.WarnLevel)
	}
	s := supervisor.New(supervisor.Options{
		Owner: owner, Records: records, Members: members, Nova: client, Policy: policy(cfg), Domain: cfg.Domain,
		Only:  func(host string) bool { return slices.Contains(f.order, host) },
		Power: hostPower(cfg.Records), KeepOff: cfg.PowerOn == config.PowerOnNever, Refence: cfg.Refence,
		Now: time.Now, Log: logrus.NewEntry(log),
	})
	fmt.Fprintf(f.out, "no supervisor runs, so the work is done here, as %s (%s)\n", owner, dir)
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(working) }()
	f.live = s.Status
	err = f.follow(ctx)
	stop()
	return errors.Join(err, <-ended)
}

// announceShell finds the name under which a shell works, and announces it.
func announceShell(ctx context.Context, members supervisor.Membership, stateDir string) (owner, dir string, p *cluster.Presence, err error) {
	if local, ok := members.(cluster.Local); ok {
		owner = fmt.Sprintf("shell-%d", os.Getpid())
		p, err = cluster.Announce(local.Dir, owner)
		return owner, local.Dir, p, err
	}
	node, err := cluster.Pacemaker{}.NodeName(ctx)
	if err != nil {
		return "", "", nil, err
	}
	if err := makeStateDir(stateDir); err != nil {
		return "", "", nil, err
	}
	p, err = cluster.Announce(stateDir, shellPresence)
	return record.ShellOwner(node), stateDir, p, err
}

// follower shows the progress of some hosts until they are settled.
type follower struct {
	records cib.Records
	socket  string
	order   []string
	live    func() []control.Host // the newer state of this process, if it does the work
	out     io.Writer
}

// followEvery is the pause between two looks at the progress.
const followEvery = time.Second

func (f *follower) follow(ctx context.Context) error {
	show := f.lines()
	if file, ok := terminal(f.out); ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb" {
		if width, _, err := term.GetSize(int(file.Fd())); err == nil && width >= barWidth+barText {
			show = f.bar(file, width-barWidth)
		}
	}
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	trouble := 0
	for {
		hosts, err := f.look(ctx)
		switch {
		case ctx.Err() != nil:
			fmt.Fprintln(f.out)
			return &exit{exitNotYet, errors.New("interrupted; the hosts stay recorded: 'nova-evac status' shows them, 'nova-evac host' follows again")}
		case err == nil:
			trouble = 0
			show(hosts)
			if ended, err := f.ended(hosts); ended {
				return err
			}
		default:
			// The cluster may be electing a DC or losing a node just now.
			if trouble++; trouble > 60 {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// look gathers the newest state of the hosts.
func (f *follower) look(ctx context.Context) ([]control.Host, error) {
	all, err := currentStatus(ctx, f.records, f.socket, f.live)
	if err != nil {
		return nil, err
	}
	var hosts []control.Host
	for _, name := range f.order {
		// It may be recorded under another name by now: see supervisor's merging of records.
		if meant := hostsNamed(all, name); len(meant) == 1 {
			hosts = append(hosts, meant[0])
		}
	}
	return hosts, nil
}

// ended reports whether all hosts are settled, and the result.
func (f *follower) ended(hosts []control.Host) (bool, error) {
	var left []string
	for _, h := range hosts {
		if h.Phase == string(record.Fenced) || h.Phase == string(record.Evacuating) || h.Phase == "malformed" || h.Phase == "held" {
			return false, nil
		}
		if h.Skipped > 0 {
			left = append(left, fmt.Sprintf("%s: %s", h.Host, h.WaitingFor))
		}
	}
	if len(left) > 0 {
		return true, &exit{exitFailed, fmt.Errorf("some instances were left: %s", strings.Join(left, "; "))}
	}
	return true, nil
}

// lines prints a line for a host whenever it changes.
func (f *follower) lines() func([]control.Host) {
	last := map[string]string{}
	return func(hosts []control.Host) {
		for _, h := range hosts {
			line := fmt.Sprintf("%s: %s, %d of %d instances on other hosts", h.Host, h.Phase, h.Done, h.Total)
			if h.Failed > 0 {
				line += fmt.Sprintf(", %d failed", h.Failed)
			}
			if h.Skipped > 0 {
				line += fmt.Sprintf(", %d left", h.Skipped)
			}
			if h.WaitingFor != "" {
				line += "; waiting for: " + oneLine(h.WaitingFor)
			}
			if line != last[h.Host] {
				fmt.Fprintln(f.out, line)
				last[h.Host] = line
			}
		}
	}
}

// terminal is the file that texts are printed to.
func terminal(out io.Writer) (*os.File, bool) {
	if p, ok := out.(printed); ok {
		out = p.Writer
	}
	file, ok := out.(*os.File)
	return file, ok
}

const (
	// barWidth is the room for the bar, with its percents, counts and time. A line that does
	// not fit into the terminal would scroll with every step.
	barWidth = 60
	// barText is the least room for the text before the bar; where there is less, and on a
	// terminal that cannot go back, lines are printed.
	barText = 20
)

// bar draws one progress bar for all hosts together, with at most room columns of text.
func (f *follower) bar(w io.Writer, room int) func([]control.Host) {
	bar := progressbar.NewOptions(1, progressbar.OptionSetWriter(w), progressbar.OptionSetWidth(20),
		progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(false),
		progressbar.OptionOnCompletion(func() { fmt.Fprintln(w) }))
	return func(hosts []control.Host) {
		total, done, phases, waits := 0, 0, []string{}, []string{}
		for _, h := range hosts {
			total, done = total+h.Total, done+h.Done
			phases = append(phases, h.Host+" "+h.Phase)
			if h.WaitingFor != "" {
				waits = append(waits, h.WaitingFor)
			}
		}
		bar.Describe(abridge(oneLine(printable(strings.Join(phases, ", ")+" "+strings.Join(waits, "; "))), room))
		settled, _ := f.ended(hosts)
		bar.ChangeMax(max(total, done+1))
		if settled {
			bar.ChangeMax(max(total, 1))
			done = max(total, 1)
		}
		_ = bar.Set(done) // a terminal that is gone shows nothing
	}
}

func abridge(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
