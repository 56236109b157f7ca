// Package fence is the fence hook: a fence agent that powers nothing, but records
// that a host was powered off. It stands behind the power device in a level of
// Pacemaker's fencing topology, so that it is called when the host is off for sure.
//
// off succeeds when the record is written, whether or not Nova and Keystone answer. A
// repeated off changes nothing. Pacemaker gives the parameters on standard input, and has
// powered the host off. Where they are given on a command line, a person gives them, and
// off is refused unless Nova has the host down.
package fence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	agents "github.com/nova-evac/nova-evac/ocf"
	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/config"
	"github.com/nova-evac/nova-evac/pkg/history"
	"github.com/nova-evac/nova-evac/pkg/identity"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/ownership"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// Exit codes of the fence-agents API (fence-agents, doc/FenceAgentAPI.md).
// Pacemaker takes status 2 for "off".
const (
	exitOK    = 0
	exitError = 1
	exitOff   = 2
)

// Nova is the part of Nova's API that the hook uses. *nova.Client implements it.
type Nova interface {
	Services(ctx context.Context) ([]nova.Service, error)
	ForceDown(ctx context.Context, service nova.Service, reason string) error
	Skew() time.Duration
}

// Connection is the cluster's connection to a node. *cluster.Power implements it.
type Connection interface {
	KeepApart(ctx context.Context, node string) error
}

// Agent is the hook. Its fields are set before Run.
type Agent struct {
	// Records opens the store: path is the parameter records, empty for the CIB.
	Records func(path string) (cib.Records, error)
	// Nova connects; it must not touch the network.
	Nova func(config.Config) (Nova, error)
	// Connection keeps the cluster from connecting to a node that is off; nil does nothing.
	Connection Connection
	Now        func() time.Time
	Version    string
	// CloudsDirs are the directories to look for clouds.yaml in; nil is the usual ones.
	CloudsDirs []string

	Stdout, Stderr io.Writer
}

const (
	// recordTime bounds all work on the record. Pacemaker gives a fence agent 60 seconds
	// by default.
	recordTime = 20 * time.Second
	// poll is the pause between two looks of an `on` that waits (on_wait).
	poll = 500 * time.Millisecond
)

// call is one call of the agent, with its parameters.
type call struct {
	*Agent
	given    map[string]string // under the names of the table
	action   string
	byHand   bool   // given on a command line, by a person
	host     string // Nova's name
	node     string // the cluster's
	records  cib.Records
	novaTime time.Duration // bounds the requests to Nova
	onWait   time.Duration
}

// Run carries out one call, and returns its exit code. Without arguments the parameters
// come from stdin.
func (a *Agent) Run(ctx context.Context, args []string, stdin io.Reader) int {
	given, err := fromArgs(args)
	if err == nil && len(args) == 0 {
		given, err = fromStdin(stdin)
	}
	if err != nil {
		return a.fail(err)
	}
	c := &call{Agent: a, given: config.Parameters(given), node: given["nodename"], byHand: len(args) > 0 && given[force] == ""}
	c.action = cmp.Or(c.given["action"], config.Default("action"))
	if name, another := otherActions[c.action]; another {
		c.action = name
	}
	switch {
	case given["help"] != "":
		return a.usage()
	case given["version"] != "":
		fmt.Fprintln(a.Stdout, a.Version)
		return exitOK
	case c.action == "metadata":
		fmt.Fprint(a.Stdout, agents.FenceMetadata())
		return exitOK
	case slices.Contains([]string{"2", "Disabled", "disabled"}, c.given["record_only"]):
		// As in fence_compute: the device stands in the configuration and does nothing.
		a.warn("record_only=%s: nothing is recorded and nothing is evacuated", c.given["record_only"])
		return exitOK
	}
	if err := c.read(); err != nil {
		return a.fail(err)
	}
	return c.do(ctx)
}

// otherActions are other names of actions, as the fence agents have them.
var otherActions = map[string]string{"disable": "off", "enable": "on", "meta-data": "metadata"}

func (c *call) do(ctx context.Context) int {
	switch c.action {
	case "off":
		return c.off(ctx)
	case "on":
		return c.on(ctx)
	case "status":
		return c.status(ctx)
	case "monitor":
		return c.monitor(ctx)
	case "list", "list-status":
		return c.list(ctx)
	case "validate-all":
		return c.validate()
	case "reboot":
		return c.fail(errors.New("reboot: this device powers nothing; have Pacemaker use off (it does by itself, reboot is not advertised)"))
	}
	return c.fail(fmt.Errorf("unknown action %q", c.action))
}

// read reads the parameters that the hook itself needs. A mistake in the cloud's
// parameters must not keep a fencing from being recorded.
func (c *call) read() (err error) {
	c.host = cmp.Or(c.given["plug"], c.node)
	if slices.Contains([]string{"off", "on", "status"}, c.action) {
		if c.host == "" {
			return fmt.Errorf("%s: which host? Give plug, Nova's name of it", c.action)
		}
		if err := record.CheckHost(c.host); err != nil {
			return fmt.Errorf("plug: %w", err)
		}
	}
	if c.node == c.host {
		c.node = ""
	}
	if c.node != "" {
		if err := record.CheckHost(c.node); err != nil {
			c.warn("nodename: %v; the host's own name is taken", err) // no reason to fail a fencing
			c.node = ""
		}
	}
	for name, into := range map[string]*time.Duration{"nova_timeout": &c.novaTime, "on_wait": &c.onWait} {
		text := c.given[name]
		if text == "0" {
			text = "" // the default
		}
		if *into, err = config.Duration(name, text); err != nil {
			if c.action != "off" {
				return err
			}
			c.warn("%v; the default is taken", err)
			*into, _ = config.Duration(name, "")
		}
	}
	c.records, err = c.Records(c.given["records"])
	return err
}

// off records the host first, then tells Nova.
func (c *call) off(ctx context.Context) int {
	if c.byHand {
		if err := c.within(ctx, c.seenDown); err != nil {
			return c.fail(fmt.Errorf("off: host %s is NOT recorded: %w. off would record it as fenced, and have its instances evacuated; "+
				"those that run there would run twice. 'nova-evac host --fence %[1]s' has the cluster power it off first; --force records it as it is", c.host, err))
		}
	}
	recording, cancel := context.WithTimeout(ctx, recordTime)
	defer cancel()
	s, written, err := cib.NoteFenced(recording, c.records, c.host, c.node, c.Now())
	if err != nil {
		return c.fail(fmt.Errorf("off: host %s is NOT recorded: %w", c.host, err))
	}
	if written {
		fmt.Fprintf(c.Stderr, "host %s is recorded as fenced, generation %d\n", c.host, s.Gen)
	}
	if c.Connection != nil && c.given["records"] == "" {
		// This must happen before the fencing ends: the next transition would connect to it.
		if err := c.Connection.KeepApart(recording, cmp.Or(c.node, c.host)); err != nil {
			c.warn("%v; the supervisor will", err)
		}
	}
	if err := c.within(ctx, func(ctx context.Context) error { return c.forceDown(ctx, s.Witness().Reason()) }); err != nil {
		c.warn("host %s is recorded, but Nova does not know yet that it is down: %v; the supervisor will tell it", c.host, err)
	}
	return exitOK
}

// within runs ask for at most nova_timeout. It does not wait longer even if ask ignores its
// context: neither a hang nor a panic of ask may fail a fencing.
func (c *call) within(ctx context.Context, ask func(context.Context) error) error {
	interrupted := ctx
	ctx, cancel := context.WithTimeout(ctx, c.novaTime)
	defer cancel()
	result := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				result <- fmt.Errorf("internal error: %v", p)
			}
		}()
		result <- ask(ctx)
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		if interrupted.Err() != nil {
			return errors.New("interrupted")
		}
		return fmt.Errorf("no answer within %v", c.novaTime)
	}
}

// seenDown is nil where Nova has the host down.
func (c *call) seenDown(ctx context.Context) error {
	service, err := c.service(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("Nova was not asked whether it is up: %w", err)
	case service.Partial:
		return errors.New("Nova does not know whether it is up: its cell does not answer")
	case service.Up:
		return errors.New("Nova says that it is up")
	}
	return nil
}

// service asks Nova for the host's service.
func (c *call) service(ctx context.Context) (nova.Service, error) {
	cloud, _, err := c.cloud(ctx)
	if err != nil {
		return nova.Service{}, err
	}
	m := cloud.Named(c.host)
	return m.Service, m.Err()
}

// cloud asks Nova for its hosts.
func (c *call) cloud(ctx context.Context) (identity.Cloud, Nova, error) {
	client, cfg, err := c.connect()
	if err != nil {
		return identity.Cloud{}, nil, err
	}
	services, err := client.Services(ctx)
	if err != nil {
		return identity.Cloud{}, nil, err
	}
	return identity.NewCloud(services, cfg.Domain, history.Clock{Ahead: client.Skew()}), client, nil
}

func (c *call) forceDown(ctx context.Context, reason string) error {
	cloud, client, err := c.cloud(ctx)
	if err != nil {
		return err
	}
	m := cloud.Fenced(c.host, c.Now())
	switch {
	case m.State != identity.One:
		return m.Err()
	case m.Silent:
		return fmt.Errorf("%s is silent since %s, and may be a name of the past", m.Service.Host, m.Service.Updated.UTC().Format(time.RFC3339))
	}
	disable, needed := ownership.Telling(m.Service, reason)
	if !needed {
		return nil
	}
	return client.ForceDown(ctx, m.Service, disable)
}

func (c *call) connect() (Nova, config.Config, error) {
	cfg, err := c.config()
	if err != nil {
		return nil, cfg, err
	}
	client, err := c.Nova(cfg)
	return client, cfg, err
}

// config reads the cloud's parameters. The environment is Pacemaker's own, and is not
// read.
func (c *call) config() (config.Config, error) {
	cfg, warnings, err := config.Load(config.Sources{Given: c.given, CloudsDirs: c.CloudsDirs})
	for _, w := range warnings {
		c.warn("%s", w)
	}
	return cfg, errors.Join(err, cfg.Validate())
}

// on notes that the host was powered on. It succeeds at once, or with on_wait when
// nothing is left to evacuate: a long `on` holds up the whole cluster's next
// transition.
func (c *call) on(ctx context.Context) int {
	noting, cancel := context.WithTimeout(ctx, recordTime)
	defer cancel()
	s, err := c.noteBack(noting)
	if err != nil {
		return c.fail(fmt.Errorf("on: the return of host %s is not recorded: %w", c.host, err))
	}
	if c.onWait == 0 || !s.Unfinished() {
		return exitOK
	}
	waiting, cancelWait := context.WithTimeout(ctx, c.onWait)
	defer cancelWait()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		select {
		case <-waiting.Done():
			return c.fail(fmt.Errorf("on: host %s is not evacuated after on_wait=%v: %s", c.host, c.onWait, s.Wait))
		case <-tick.C:
		}
		all, err := c.records.Query(waiting)
		if err != nil {
			continue
		}
		var found bool
		if s, found = identity.Plugged(all, c.host, c.node); !found || !s.Unfinished() {
			return exitOK
		}
	}
}

// noteBack notes on the host's record that it is on.
func (c *call) noteBack(ctx context.Context) (cib.Stored, error) {
	all, err := c.records.Query(ctx)
	if err != nil {
		return cib.Stored{}, err
	}
	name := c.host
	if s, found := identity.Plugged(all, c.host, c.node); found {
		name = s.Host
	}
	s, _, err := cib.NoteBack(ctx, c.records, name, c.Now())
	return s, err
}

// status is "off" while the host has a record that is not returning; Nova is asked only
// where it has none. Pacemaker asks for it with pcmk_host_check=status: exit codes 0 and 2
// both mean that the device can fence the host, an error means that it cannot.
func (c *call) status(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, recordTime)
	defer cancel()
	all, err := c.records.Query(ctx)
	if err != nil {
		return c.fail(err)
	}
	if s, found := identity.Plugged(all, c.host, c.node); found && s.Err == nil && s.Phase != record.Returning {
		fmt.Fprintln(c.Stdout, "Status: OFF")
		return exitOff
	}
	down := false
	err = c.within(ctx, func(ctx context.Context) error {
		service, err := c.service(ctx)
		down = err == nil && service.ForcedDown && !service.Enabled
		return err
	})
	if err != nil {
		c.warn("status of %s: Nova was not asked: %v", c.host, err)
	} else if down {
		fmt.Fprintln(c.Stdout, "Status: OFF")
		return exitOff
	}
	fmt.Fprintln(c.Stdout, "Status: ON")
	return exitOK
}

// monitor reports whether a fencing could be recorded now. It does not ask Nova: a device
// that failed because Keystone is down would be missing when it is needed.
func (c *call) monitor(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, recordTime)
	defer cancel()
	if _, err := c.records.Query(ctx); err != nil {
		return c.fail(err)
	}
	return exitOK
}

// list names the hosts that the device can fence: the hosts that Nova knows, by their full
// and their short names; where Nova does not answer, the hosts on record.
func (c *call) list(ctx context.Context) int {
	names := map[string]bool{}
	var services []nova.Service
	err := c.within(ctx, func(ctx context.Context) error {
		client, _, err := c.connect()
		if err == nil {
			services, err = client.Services(ctx)
		}
		return err
	})
	if err == nil {
		for _, s := range services {
			short, _, _ := strings.Cut(s.Host, ".")
			names[s.Host], names[short] = true, true
		}
	} else {
		c.warn("list: Nova was not asked: %v; only recorded hosts are listed", err)
		all, err := c.records.Query(ctx)
		if err != nil {
			c.warn("list: %v", err)
		}
		for _, s := range all {
			names[s.Host] = true
		}
	}
	format := "%s,\n"
	if c.action == "list-status" {
		format = "%s,,UNKNOWN\n"
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		fmt.Fprintf(c.Stdout, format, name)
	}
	return exitOK
}

// validate checks all parameters, the cloud's too.
func (c *call) validate() int {
	if _, err := c.config(); err != nil {
		return c.fail(err)
	}
	return exitOK
}

func (a *Agent) fail(err error) int {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(a.Stderr, "fence_nova_evac: %s\n", strings.TrimRight(line, "\n"))
	}
	return exitError
}

func (a *Agent) warn(format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ")
	fmt.Fprintf(a.Stderr, "fence_nova_evac: warning: %s\n", text)
}

func (a *Agent) usage() int {
	fmt.Fprint(a.Stdout, `usage: fence_nova_evac [OPTIONS], or without options name=value lines on standard input

Records that a host was fenced, for nova-evac to evacuate it. It powers nothing:
use it behind the power device of a level of the fencing topology.

`)
	table := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	for _, p := range config.Offered(config.FenceAgent) {
		letter, value, or := "    ", "", ""
		if p.Letter != "" {
			letter = "-" + p.Letter + ", "
		}
		if p.Kind != config.YesNo {
			value = "=" + strings.ToUpper(p.Value)
		}
		if p.Default != "" {
			or = " (" + p.Default + ")"
		}
		fmt.Fprintf(table, "  %s--%s%s\t%s%s\n", letter, strings.ReplaceAll(p.Name, "_", "-"), value, p.Short, or)
	}
	fmt.Fprintf(table, "      --%s\t%s\n", force, "record a host although Nova does not have it down")
	table.Flush()
	fmt.Fprintln(a.Stdout, "\n--action=metadata describes all of them.")
	return exitOK
}
