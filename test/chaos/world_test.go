// Package chaos runs the real supervisors and engine through evacuations on which
// everything goes wrong: on the simulated cloud's state machine, a CIB in memory, a
// model of Pacemaker, one simulated clock and one seeded source of chance.
package chaos

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/evacuate"
	"github.com/nova-evac/nova-evac/pkg/gate"
	"github.com/nova-evac/nova-evac/pkg/history"
	"github.com/nova-evac/nova-evac/pkg/identity"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/novasim"
	"github.com/nova-evac/nova-evac/pkg/ownership"
	"github.com/nova-evac/nova-evac/pkg/record"
	"github.com/nova-evac/nova-evac/pkg/supervisor"
)

const (
	controllers = 3
	// tokenTime is how long Pacemaker takes to notice that a node is gone.
	tokenTime = 2 * time.Second
	// monitorTime is how long it takes to notice that a supervisor is.
	monitorTime = 10 * time.Second
	// apiTime bounds a request's life inside the API, as it is told to the engine.
	apiTime = time.Minute
	// chaosTime is how long things go wrong; endTime when all must be well again.
	chaosTime = 6 * time.Minute
	// bootMin and bootMax are how long a compute host boots until its nova-compute starts.
	bootMin, bootMax = 15 * time.Second, 90 * time.Second
	endTime          = 2 * time.Hour
)

// guards are what keeps from harm. The simulation is worth what it finds when one of
// them is off.
type guards struct {
	noReadBack   bool // whatever Nova says, the host is taken for down
	noTakeover   bool // nobody looks at who owns a host, in the record or in Nova
	noLook       bool // what has no answer is taken for not sent
	noDisconnect bool // a host is fenced again while the cluster is connected to it
	noSource     bool // whether the source runs again is not looked at
	noNames      bool // nobody sees that a host is recorded under another name, too
}

// world is one run.
type world struct {
	t      testing.TB
	seed   uint64
	guards guards
	began  time.Time
	cloud  *novasim.Cloud
	hosts  []string // compute hosts, by Nova's names; the first is the one that dies
	names  map[string]names

	mu      sync.Mutex
	records *cib.Memory
	nodes   map[string]*node
	faults  []fault
	history []map[string]string // the CIB, second by second
	counter map[string]int
	fenced  map[string]time.Time // when compute hosts were, last
	// keptOff: a fenced host stays off, as with stonith-action=off; otherwise Pacemaker powers
	// it on at once. gated: nova-compute of every host waits behind a gate.
	keptOff, gated bool
	machines       map[string]*machine
	// raced are instances whose request was alive in the API for as long as their host took to
	// boot, which was fenced again before and is not a second time: a known limit.
	raced map[string]bool
	many  bool         // a host has many names
	stale nova.Service // of before a renaming; zero: there is none
	boots sync.WaitGroup
	over  atomic.Bool // the run has ended
	// operated is when an operator did something to a host or an instance.
	operated map[string]time.Time
	away     atomic.Bool // the cell's database
	trace    []string
	refused  []string // breaches that the cloud does not know of
	crashes  int
	verbose  bool
}

// node is a controller.
type node struct {
	name     string
	process  *process // nil: none
	power    bool
	isolated time.Time   // since when, zero: it is not
	private  *cib.Memory // its CIB while it is isolated
	gone     time.Time   // when it lost its power or its cable, for what the others see
	unclean  bool        // they want to fence it
	believed bool        // Pacemaker believes that its supervisor runs
	pending  bool
}

// process is a supervisor's.
type process struct {
	w     *world
	node  *node
	id    string
	stop  context.CancelFunc
	ended chan struct{}
	dead  bool
	// session is nil until the first login.
	session *session
	frozen  chan struct{} // closed when it goes on; nil: it is not frozen
}

// machine is a compute host, as Pacemaker and the network see it.
type machine struct {
	busy  chan struct{} // one thing at a time is done to its power; not a mutex, for time has to pass meanwhile
	boot  int           // rises whenever its power changes
	up    bool          // it has booted: pacemaker_remote runs
	apart bool          // the cluster is kept from connecting to it
	// The cluster is connected to it, or tries to connect, from linked on, until unlinked. Zero:
	// it is not.
	linked, unlinked time.Time
	holds            bool // its gate attests that it holds nova-compute back
	died             bool // and the cluster has not fenced it yet
}

// names are those of a compute host besides Nova's.
type names struct {
	node string // the cluster's
	// plugs are what the fence device's host map has for it: the map may be put right at any
	// time.
	plugs []string
}

// name gives the compute hosts their names, by chance: one for all, or short and full ones,
// capitals, a host map, and a host map that is not always the same.
func (w *world) name(hosts int) {
	kind := w.chance("names")
	for n := range hosts {
		host := fmt.Sprintf("compute-%d", n+1)
		of, full := names{host, []string{host}}, host+".x.org"
		switch {
		case kind < 0.5:
		case kind < 0.6:
			host = full
		case kind < 0.7:
			host = strings.ToUpper(host)
		case kind < 0.85:
			of.plugs, host = []string{host, full}, full
		default:
			of, host = names{fmt.Sprintf("node-%d", n+1), []string{full, host}}, full
		}
		w.hosts = append(w.hosts, host)
		w.names[host] = of
		w.machines[host] = &machine{up: true, linked: w.began, busy: make(chan struct{}, 1)}
	}
	w.many = kind >= 0.5
	// A service of before a renaming, which nobody has deleted.
	if kind >= 0.7 && w.chance("stale") < 0.3 {
		w.stale = nova.Service{ID: "stale", Host: "compute-1", Enabled: true, Updated: w.began.Add(-30 * 24 * time.Hour)}
	}
}

// plug is the name under which the hook is called.
func (w *world) plug(about, host string) (plug, node string) {
	of := w.names[host]
	plug, node = of.plugs[int(w.chance("plug "+about)*float64(len(of.plugs)))], of.node
	if node == plug {
		node = ""
	}
	return plug, node
}

// host is Nova's name of a host that is known by another one; empty: it is no host's.
func (w *world) host(name string) string {
	for _, host := range w.hosts {
		of := w.names[host]
		if strings.EqualFold(name, host) || name == of.node || slices.Contains(of.plugs, name) {
			return host
		}
	}
	return ""
}

// novaDirect is Nova, as the shell and the hook reach it.
type novaDirect struct {
	novasim.Direct
	w *world
}

func (w *world) nova() novaDirect { return novaDirect{novasim.Direct{Cloud: w.cloud}, w} }

// Services are those of the cloud, and that of before the renaming.
func (d novaDirect) Services(ctx context.Context) ([]nova.Service, error) {
	services, err := d.Direct.Services(ctx)
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	if d.w.stale.Host != "" && err == nil {
		services = append(services, d.w.stale)
	}
	return services, err
}

// ForceDown says so where the service of before the renaming is taken for a host.
func (d novaDirect) ForceDown(ctx context.Context, s nova.Service, reason string) error {
	if s.ID == "stale" {
		d.w.mu.Lock()
		defer d.w.mu.Unlock()
		d.w.refused = append(d.w.refused, s.Host+", which is of before a renaming, is forced down")
		return nil
	}
	return d.Direct.ForceDown(ctx, s, reason)
}

// byHand is an operator's 'nova-evac host' with Nova's name of a host that is off.
func (w *world) byHand(host string) {
	if w.powered(host) {
		return
	}
	_, err := supervisor.ByHand{Nova: w.nova(), Records: w.records, Now: time.Now, PoweredOff: true, Nodes: []string{w.names[host].node}}.Record(context.Background(), host)
	w.log("an operator has %s evacuated: %v", host, err)
}

// fault is trouble with the API for some time.
type fault struct {
	kind        string // services, servers, ... or evacuate
	mode        string
	from, until time.Time
	share       float64
}

var errDead = errors.New("this process is dead")

// chance is a number in [0,1) that depends on the seed and on what it is for, and not
// on which goroutine asks first.
func (w *world) chance(about string) float64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %s", w.seed, about)
	return rand.New(rand.NewPCG(h.Sum64(), w.seed)).Float64()
}

// nth numbers the events of one kind.
func (w *world) nth(about string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counter[about]++
	return fmt.Sprintf("%s #%d", about, w.counter[about])
}

// pause sleeps, by chance, for between least and most, and for no round time: two
// events at the same moment could come in any order.
func (w *world) pause(about string, least, most time.Duration) {
	d := least + time.Duration(w.chance("pause "+about)*float64(most-least))
	time.Sleep(d/1000*1000 + time.Duration(w.chance("ns "+about)*1000))
}

func (w *world) log(format string, args ...any) {
	line := fmt.Sprintf("%9.3f  ", time.Since(w.began).Seconds()) + fmt.Sprintf(format, args...)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trace = append(w.trace, line)
	if w.verbose {
		fmt.Println(line)
	}
}

// ---- what a process sees of the world

// ready waits while a process is frozen, and fails once it is dead.
func (p *process) ready() error {
	for {
		p.w.mu.Lock()
		dead, frozen := p.dead, p.frozen
		p.w.mu.Unlock()
		switch {
		case dead:
			return errDead
		case frozen == nil:
			return nil
		}
		<-frozen
	}
}

// ask carries one request to Nova. The request goes its way even when whoever sent it
// dies: its effect comes, or does not, at its own time.
func (p *process) ask(ctx context.Context, kind, about string, effect func() error) error {
	if err := p.ready(); err != nil {
		return &nova.Error{Op: kind, Kind: nova.ErrNotSent, Message: err.Error()}
	}
	w := p.w
	id := w.nth(p.id + " " + kind + " " + about)
	w.pause("way "+id, 5*time.Millisecond, 60*time.Millisecond)
	mode := w.trouble(kind, id)
	if w.away.Load() {
		return &nova.Error{Op: kind + " " + about, Kind: nova.ErrAnswered, Code: 500, Message: "Unexpected API Error"}
	}
	unknown := func(patience time.Duration) error {
		w.pause("lost "+id, patience, patience+time.Second)
		return &nova.Error{Op: kind + " " + about, Kind: nova.ErrUnknownOutcome, Message: "the answer was lost"}
	}
	switch mode {
	case "refuse":
		return &nova.Error{Op: kind + " " + about, Kind: nova.ErrNotSent, Message: "connection refused"}
	case "503":
		return &nova.Error{Op: kind + " " + about, Kind: nova.ErrAnswered, Code: 503, Message: "Service Unavailable"}
	case "500 after":
		_ = effect()
		return &nova.Error{Op: kind + " " + about, Kind: nova.ErrAnswered, Code: 500, Message: "Unexpected API Error"}
	case "lost before":
		return unknown(0)
	case "lost after":
		_ = effect()
		return unknown(0)
	case "late":
		if kind != "evacuate" && kind != "service" {
			return unknown(time.Second) // nobody is there to take the answer
		}
		late := make(chan struct{})
		go func() {
			w.pause("late "+id, time.Second, apiTime-5*time.Second)
			_ = effect()
			close(late)
		}()
		return unknown(time.Second)
	case "slow":
		w.pause("slow "+id, time.Second, 40*time.Second)
	}
	if ctx.Err() != nil {
		return &nova.Error{Op: kind, Kind: nova.ErrNotSent, Message: "interrupted"}
	}
	err := effect()
	w.pause("back "+id, time.Millisecond, 30*time.Millisecond)
	if dead := p.ready(); dead != nil {
		return &nova.Error{Op: kind, Kind: nova.ErrUnknownOutcome, Message: dead.Error()}
	}
	return err
}

// trouble says what befalls a request now.
func (w *world) trouble(kind, id string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for n, f := range w.faults {
		if (f.kind == kind || f.kind == "*") && !now.Before(f.from) && now.Before(f.until) && w.chance(fmt.Sprintf("fault %d %s", n, id)) < f.share {
			return f.mode
		}
	}
	return ""
}

// Nova, as a process reaches it.
func (p *process) direct() novaDirect { return p.w.nova() }

func (p *process) Skew() time.Duration { return 0 }

// session is a process's login at Keystone. All that need one wait for the same.
type session struct {
	expires time.Time
	done    chan struct{} // closed when the answer is there
	err     error
}

// Ready now and then has to log in first.
func (p *process) Ready(ctx context.Context) error {
	w := p.w
	w.mu.Lock()
	s := p.session
	first := s == nil || time.Now().After(s.expires)
	if first {
		s = &session{done: make(chan struct{}), expires: time.Now().Add(time.Hour)}
		p.session = s
	}
	w.mu.Unlock()
	if first {
		id := w.nth(p.id + " token")
		err := p.ask(ctx, "login", id, func() error { return nil })
		w.mu.Lock()
		s.err, s.expires = err, time.Now()
		if err == nil {
			s.expires = s.expires.Add(time.Duration(w.chance(id) * float64(time.Minute)))
		}
		w.mu.Unlock()
		close(s.done)
	}
	<-s.done
	if s.err != nil {
		return &nova.Error{Op: "log in", Kind: nova.ErrNotSent, Message: s.err.Error()}
	}
	return nil
}

func (p *process) Services(ctx context.Context) (services []nova.Service, err error) {
	err = p.ask(ctx, "services", "", func() (err error) { services, err = p.direct().Services(ctx); return err })
	if p.w.guards.noReadBack {
		for n := range services {
			if !services[n].Up || services[n].Host == p.w.hosts[0] {
				services[n].ForcedDown, services[n].Enabled, services[n].DisabledReason = true, false, ""
			}
		}
	}
	for n, s := range services {
		if p.w.guards.noSource {
			services[n].Updated = p.w.began
		}
		if found, ours := record.ParseReason(s.DisabledReason); p.w.guards.noTakeover && ours && found.Claim != "" {
			services[n].DisabledReason = ""
		}
	}
	return services, err
}

func (p *process) ForceDown(ctx context.Context, s nova.Service, reason string) error {
	return p.ask(ctx, "service", s.Host, func() error {
		p.w.log("%s forces %s down: %s", p.id, s.Host, reason)
		return p.direct().ForceDown(ctx, s, reason)
	})
}

func (p *process) ForceUp(ctx context.Context, s nova.Service) error {
	return p.ask(ctx, "service", s.Host, func() error {
		err := p.direct().ForceUp(ctx, s)
		p.w.log("%s forces %s up: %v", p.id, s.Host, err)
		return err
	})
}

func (p *process) Enable(ctx context.Context, s nova.Service) error {
	return p.ask(ctx, "service", s.Host, func() error { return p.direct().Enable(ctx, s) })
}

func (p *process) Missing(context.Context) ([]string, error) { return nil, nil }

func (p *process) Servers(ctx context.Context, host string) (servers []nova.Server, err error) {
	err = p.ask(ctx, "servers", host, func() (err error) { servers, err = p.direct().Servers(ctx, host); return err })
	return servers, err
}

func (p *process) Rebuilding(ctx context.Context, host string) (ids []string, err error) {
	err = p.ask(ctx, "servers", host, func() (err error) { ids, err = p.direct().Rebuilding(ctx, host); return err })
	return ids, err
}

func (p *process) Evacuations(ctx context.Context, host string, since time.Time) (records []nova.Migration, err error) {
	err = p.ask(ctx, "migrations", host, func() (err error) { records, err = p.direct().Evacuations(ctx, host, since); return err })
	return records, err
}

func (p *process) EvacuationsOf(ctx context.Context, id string) (records []nova.Migration, err error) {
	err = p.ask(ctx, "migrations", id, func() (err error) { records, err = p.direct().EvacuationsOf(ctx, id); return err })
	return records, err
}

func (p *process) Destinations(ctx context.Context, id string) (hosts []string, err error) {
	err = p.ask(ctx, "placement", id, func() (err error) { hosts, err = p.direct().Destinations(ctx, id); return err })
	return hosts, err
}

func (p *process) Course(ctx context.Context, id string, created time.Time) (course nova.Course, err error) {
	err = p.ask(ctx, "course", id, func() (err error) { course, err = p.direct().Course(ctx, id, created); return err })
	return course, err
}

func (p *process) Actions(ctx context.Context, id string) (names []string, err error) {
	err = p.ask(ctx, "actions", id, func() (err error) { names, err = p.direct().Actions(ctx, id); return err })
	return names, err
}

func (p *process) Reset(ctx context.Context, id string) error {
	return p.ask(ctx, "reset", id, func() error { return p.direct().Reset(ctx, id) })
}

func (p *process) Stop(ctx context.Context, id string) error {
	return p.ask(ctx, "stop", id, func() error { return p.direct().Stop(ctx, id) })
}

func (p *process) Evacuate(ctx context.Context, id, dest string) error {
	off := p.w.offAndRefenced(id)
	err := p.ask(ctx, "evacuate", id, func() error {
		if off && !p.w.offAndRefenced(id) {
			p.w.log("the request for %s has outlived the boot of its host", id[:8])
			p.w.mu.Lock()
			p.w.raced[id] = true
			p.w.mu.Unlock()
		}
		source, forced := "", false
		state := p.w.cloud.State()
		for _, i := range state.Instances {
			if i.ID == id {
				source = i.Host
			}
		}
		for _, h := range state.Hosts {
			forced = forced || h.Name == source && h.ForcedDown
		}
		err := p.direct().Evacuate(ctx, id, dest)
		p.w.log("%s evacuates %s from %s to %q: %v", p.id, id[:8], source, dest, err)
		if err == nil && !forced {
			p.w.mu.Lock()
			p.w.refused = append(p.w.refused, fmt.Sprintf("%s was evacuated from %s, which was not forced down", id[:8], source))
			p.w.mu.Unlock()
		}
		return err
	})
	if p.w.guards.noLook && errors.Is(err, nova.ErrUnknownOutcome) {
		return &nova.Error{Op: "evacuate", Kind: nova.ErrNotSent, Message: err.Error()}
	}
	return err
}

// offAndRefenced answers whether the host of an instance is off, and would not be fenced again
// if it were on.
func (w *world) offAndRefenced(id string) bool {
	for _, i := range w.cloud.State().Instances {
		if i.ID != id || w.powered(i.Host) {
			continue
		}
		all, _ := w.records.Query(context.Background())
		return slices.ContainsFunc(all, func(r cib.Stored) bool {
			return w.host(r.Host) == i.Host && r.Refenced != 0 && r.Refenced != r.Gen
		})
	}
	return false
}

// The CIB, as a process reaches it.
type records struct{ p *process }

// store is the CIB that the node has: its own copy while it is isolated.
func (r records) store() *cib.Memory {
	r.p.w.mu.Lock()
	defer r.p.w.mu.Unlock()
	if r.p.node.private != nil {
		return r.p.node.private
	}
	return r.p.w.records
}

func (r records) access(kind string, do func(*cib.Memory) error) error {
	p := r.p
	if err := p.ready(); err != nil {
		return fmt.Errorf("%w: %w", cib.ErrUnavailable, err)
	}
	if kind != "query" {
		p.w.together()
	}
	id := p.w.nth(p.id + " cib " + kind)
	p.w.pause(id, time.Millisecond, 30*time.Millisecond)
	if err := p.ready(); err != nil {
		return fmt.Errorf("%w: %w", cib.ErrUnavailable, err)
	}
	mode := p.w.trouble("cib", id)
	if mode == "fail" {
		return fmt.Errorf("%w: cibadmin timed out", cib.ErrUnavailable)
	}
	err := do(r.store())
	if mode == "unacknowledged" {
		return fmt.Errorf("%w: cibadmin timed out", cib.ErrUnavailable)
	}
	return err
}

// together waits while Corosync has lost its token and has not formed a new
// membership: no write is delivered meanwhile, and afterwards each part has it.
func (w *world) together() {
	for {
		w.mu.Lock()
		left := time.Duration(0)
		for _, n := range w.nodes {
			for _, since := range []time.Time{n.isolated, n.gone} {
				if !since.IsZero() {
					left = max(left, tokenTime-time.Since(since))
				}
			}
		}
		w.mu.Unlock()
		if left <= 0 {
			return
		}
		time.Sleep(left)
	}
}

// note puts a write into the trace. One that died with its process was none.
func (r records) note(err error, format string, args ...any) {
	if !errors.Is(err, errDead) {
		r.p.w.log(r.p.id+" "+format, args...)
	}
}

func (r records) Query(ctx context.Context) (all []cib.Stored, err error) {
	err = r.access("query", func(m *cib.Memory) (err error) { all, err = m.Query(ctx); return err })
	for n := range all {
		if r.p.w.guards.noTakeover && all[n].Owner != r.p.node.name {
			all[n].Owner = ""
		}
	}
	if r.p.w.guards.noNames {
		others := slices.Clone(all)
		all = slices.DeleteFunc(all, func(s cib.Stored) bool {
			return s.Owner != "" && s.Owner != r.p.node.name && slices.ContainsFunc(others, func(o cib.Stored) bool {
				return o.Host != s.Host && r.p.w.host(o.Host) == r.p.w.host(s.Host)
			})
		})
	}
	return all, err
}

func (r records) Create(ctx context.Context, rec record.Record) (s cib.Stored, err error) {
	err = r.access("create", func(m *cib.Memory) (err error) { s, err = m.Create(ctx, rec); return err })
	r.note(err, "creates %s %s: %v", rec.Host, rec.Encode(), err)
	return s, err
}

func (r records) Replace(ctx context.Context, old cib.Stored, rec record.Record) (s cib.Stored, err error) {
	err = r.access("replace", func(m *cib.Memory) (err error) { s, err = m.Replace(ctx, old, rec); return err })
	r.note(err, "writes %s %s: %v", rec.Host, rec.Encode(), err)
	return s, err
}

func (r records) Delete(ctx context.Context, old cib.Stored) error {
	err := r.access("delete", func(m *cib.Memory) error { return m.Delete(ctx, old) })
	r.note(err, "deletes %s %s: %v", old.Host, old.Encode(), err)
	return err
}

func (r records) Subscribe(ctx context.Context) <-chan cib.Update { return r.store().Subscribe(ctx) }

// View is the cluster, as this process's node sees it.
func (p *process) View(context.Context) (cluster.View, error) {
	if err := p.ready(); err != nil {
		return cluster.View{}, err
	}
	w := p.w
	w.pause(w.nth(p.id+" view"), time.Millisecond, 30*time.Millisecond)
	if err := p.ready(); err != nil {
		return cluster.View{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	v := cluster.View{Nodes: map[string]cluster.Node{}, Supervisors: map[string]bool{}}
	now, with := time.Now(), 0
	noticed := func(since time.Time) bool { return !since.IsZero() && now.Sub(since) > tokenTime }
	alone := noticed(p.node.isolated)
	for _, n := range w.nodes {
		switch {
		case n == p.node:
			v.Nodes[n.name] = cluster.Node{Online: true}
			with++
		case alone, noticed(n.isolated), noticed(n.gone):
			v.Nodes[n.name] = cluster.Node{Unclean: n.unclean || alone}
		default:
			v.Nodes[n.name] = cluster.Node{Online: true, Pending: n.pending}
			with++
		}
		if n.believed {
			v.Supervisors[n.name] = true
		}
	}
	for host, m := range w.machines {
		// A remote node that is off is online for half a minute at a time, while the cluster
		// tries to connect to it.
		trying := !m.apart && int(now.Sub(w.began)/(30*time.Second))%2 == 1
		v.Nodes[w.names[host].node] = cluster.Node{Remote: true, Online: m.died || m.connected(now) && !w.guards.noDisconnect || trying, Unclean: false}
	}
	v.Quorum = with > controllers/2
	return v, nil
}

// ---- the power of compute hosts

// disconnects is how long the cluster takes to end its connection to a remote node.
const disconnects = 2 * time.Second

// connection is made, or ended, by the cluster where a machine has booted, or is kept apart
// or not any more. The world is locked.
func (m *machine) connection(now time.Time) {
	switch {
	case m.up && !m.apart && (m.linked.IsZero() || m.unlinked.After(m.linked)):
		m.linked, m.unlinked = now, time.Time{}
	case m.apart && !m.linked.IsZero() && m.unlinked.IsZero():
		m.unlinked = now.Add(disconnects)
	}
}

// connected answers whether the cluster is connected to it, or tries to. The world is locked.
func (m *machine) connected(now time.Time) bool {
	return !m.linked.IsZero() && (m.unlinked.IsZero() || now.Before(m.unlinked))
}

// On is stonith_admin --unfence: whoever asked for it may die, it is done all the same.
func (p *process) On(ctx context.Context, node string) error {
	return p.power(ctx, "on", node, func(about, host string) { p.w.switchOn(about, host, true) })
}

// Off is stonith_admin --fence.
func (p *process) Off(ctx context.Context, node string) error {
	return p.power(ctx, "off", node, func(about, host string) {
		if broken := p.w.switchOff(about, host); broken {
			p.w.boots.Go(func() { p.w.failed(about, host) })
		}
	})
}

func (p *process) power(_ context.Context, what, node string, do func(about, host string)) error {
	if err := p.ready(); err != nil {
		return err
	}
	w := p.w
	host := w.ofNode(node)
	if host == "" {
		return fmt.Errorf("the cluster knows no node %s", node)
	}
	id := w.nth(p.id + " power " + what + " " + node)
	w.pause(id, 100*time.Millisecond, 3*time.Second)
	if w.chance("power fails "+id) < 0.1 {
		return errors.New("the BMC does not answer")
	}
	w.log("%s switches %s %s", p.id, node, what)
	do(id, host)
	return p.ready()
}

// ofNode is Nova's name of a node; empty: it is none.
func (w *world) ofNode(node string) string {
	for _, host := range w.hosts {
		if w.names[host].node == node {
			return host
		}
	}
	return ""
}

// Answer is a look at the machine over the network, which now and then is lost.
func (p *process) Answer(_ context.Context, node string) (cluster.Answer, error) {
	if err := p.ready(); err != nil {
		return cluster.NoAnswer, err
	}
	w := p.w
	id := w.nth(p.id + " answer " + node)
	w.pause(id, time.Millisecond, 20*time.Millisecond)
	host := w.ofNode(node)
	on := w.powered(host)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case !on || w.guards.noSource || w.chance("answer lost "+id) < 0.05:
		return cluster.NoAnswer, nil
	case w.machines[host].up:
		return cluster.Connectable, nil
	}
	return cluster.Answers, nil
}

func (p *process) Gate(_ context.Context, node string) (cluster.Gate, error) {
	if err := p.ready(); err != nil {
		return cluster.NoGate, err
	}
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if m := p.w.machines[p.w.ofNode(node)]; m != nil && m.holds && m.connected(time.Now()) {
		return cluster.GateHolds, nil
	}
	return cluster.NoGate, nil
}

func (p *process) KeepApart(_ context.Context, node string) error { return p.apart(node, true) }
func (p *process) Rejoin(_ context.Context, node string) error    { return p.apart(node, false) }

func (p *process) apart(node string, apart bool) error {
	if err := p.ready(); err != nil {
		return err
	}
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if m := p.w.machines[p.w.ofNode(node)]; m != nil {
		m.apart = apart
		m.connection(time.Now())
	}
	return nil
}

func (p *process) Apart(context.Context) (nodes []string, err error) {
	if err := p.ready(); err != nil {
		return nil, err
	}
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	for _, name := range p.w.hosts {
		if p.w.machines[name].apart {
			nodes = append(nodes, p.w.names[name].node)
		}
	}
	return nodes, nil
}

// switchOn powers a compute host on, by its fencing level, whose hook notes it, or by its
// button, of which nobody is told. It boots, and then its nova-compute starts, behind a
// gate or not.
func (w *world) switchOn(about, host string, level bool) {
	m := w.machines[host]
	m.busy <- struct{}{}
	defer func() { <-m.busy }()
	if !w.powered(host) {
		w.log("%s is on", host)
		_ = w.cloud.ChangeHost(host, novasim.HostChange{Power: "on", Compute: "held"})
		w.mu.Lock()
		m.boot++
		boot := m.boot
		w.mu.Unlock()
		w.boots.Go(func() { w.bootUp(about, host, boot) })
	}
	if level {
		w.pause("hook on "+about, 10*time.Millisecond, 100*time.Millisecond)
		plug, node := w.plug("on "+about, host)
		all, err := w.records.Query(context.Background())
		if r, found := identity.Plugged(all, plug, node); found && err == nil {
			_, _, err = cib.NoteBack(context.Background(), w.records, r.Host, time.Now())
		}
		if err != nil {
			w.t.Error(err)
		}
	}
}

// View is the cluster as a compute host sees it.
func (w *world) View(context.Context) (cluster.View, error) {
	v := cluster.View{Quorum: true, Nodes: map[string]cluster.Node{}}
	for _, of := range w.names {
		v.Nodes[of.node] = cluster.Node{Remote: true, Online: true}
	}
	return v, nil
}

// bootUp is a boot, unless the power goes meanwhile.
func (w *world) bootUp(about, host string, boot int) {
	m := w.machines[host]
	w.pause("boot "+about, bootMin, bootMax)
	still := func(do func()) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		if m.boot == boot {
			do()
		}
		return m.boot == boot
	}
	if !still(func() { m.up = true; m.connection(time.Now()) }) {
		return
	}
	for w.gated && !w.over.Load() {
		// The machine has the cluster's name, and a domain of its own.
		why, err := gate.Gate{Host: w.names[host].node + ".internal", Records: w.records, Members: w}.Look(context.Background())
		held := err != nil || why != ""
		if !still(func() { m.holds = held }) {
			return
		}
		if !held {
			break
		}
		time.Sleep(2*time.Second + 23*time.Nanosecond)
	}
	// Not under the lock: the cloud is asked while it is held.
	if still(func() {}) {
		w.log("nova-compute of %s starts", host)
		_ = w.cloud.ChangeHost(host, novasim.HostChange{Compute: "start"})
	}
}

// failed is what the cluster does about a connection that broke: its monitor fails, and the
// node is fenced, although somebody has fenced it a moment ago.
func (w *world) failed(about, host string) {
	w.pause("monitor "+about, time.Second, 13*time.Second)
	w.log("the connection to %s has failed", host)
	w.mu.Lock()
	w.refused = append(w.refused, host+" was fenced again while the cluster was connected to it, which fences it once more")
	w.mu.Unlock()
	w.fenceHost("failed "+about, host)
}

// fenceHost has the cluster fence a compute host, and, unless it is kept off, power it on.
func (w *world) fenceHost(about, host string) {
	w.switchOff(about, host)
	if !w.keptOff {
		w.pause("remapped "+about, 50*time.Millisecond, 3*time.Second)
		w.switchOn("remapped "+about, host, true)
	}
}

// switchOff powers a compute host off by its fencing level: its hook records it. It answers
// whether that has broken a connection of the cluster.
func (w *world) switchOff(about, host string) (broken bool) {
	m := w.machines[host]
	m.busy <- struct{}{}
	defer func() { <-m.busy }()
	w.mu.Lock()
	m.boot++
	broken = m.connected(time.Now())
	m.up, m.holds, m.died, m.linked, m.unlinked = false, false, false, time.Time{}, time.Time{}
	w.mu.Unlock()
	_ = w.cloud.ChangeHost(host, novasim.HostChange{Power: "off"})
	var s cib.Stored
	plug, node := w.plug(about, host)
	for range 1 + int(w.chance("hooks "+about)*2.5) { // a fencing may be repeated
		var err error
		if s, _, err = cib.NoteFenced(context.Background(), w.records, plug, node, time.Now()); err != nil {
			w.t.Error(err)
		}
		w.pause("hook "+about, 10*time.Millisecond, 100*time.Millisecond)
	}
	w.log("the hook records %s %s", plug, s.Encode())
	w.mu.Lock()
	w.fenced[host] = time.Now()
	m.apart = m.apart || w.chance("apart "+about) < 0.9
	w.mu.Unlock()
	if w.chance("told "+about) < 0.7 {
		cloud := w.nova()
		services, _ := cloud.Services(context.Background())
		if m := identity.NewCloud(services, "", history.Clock{}).Fenced(plug, time.Now()); m.State == identity.One && !m.Silent {
			if disable, needed := ownership.Telling(m.Service, s.Witness().Reason()); needed {
				_ = cloud.ForceDown(context.Background(), m.Service, disable)
			}
		}
	}
	return broken
}

// ---- Pacemaker

// start has Pacemaker start a supervisor on a node.
func (w *world) start(n *node) {
	w.mu.Lock()
	if !n.power || n.process != nil {
		w.mu.Unlock()
		return
	}
	w.counter["process"]++
	p := &process{w: w, node: n, id: fmt.Sprintf("%s/%d", n.name, w.counter["process"]), ended: make(chan struct{})}
	n.process, n.believed, n.pending = p, true, false
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	w.mu.Unlock()
	// Settings change from start to start.
	policy := evacuate.Policy{MaxInFlight: 2 + int(w.chance("slots "+p.id)*5), APITime: apiTime, RetryMin: 5 * time.Second, RetryMax: time.Minute}
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	logger.AddHook(hook{p})
	s := supervisor.New(supervisor.Options{Owner: n.name, Records: records{p}, Members: p, Nova: p, Policy: policy, Power: p, Refence: true, Now: time.Now, Log: logrus.NewEntry(logger)})
	w.log("%s starts", p.id)
	go func() { defer close(p.ended); _ = s.Run(ctx) }()
}

// hook puts what a supervisor logs into the trace. What a dead one says, nobody hears; and
// in what order its parts say it differs from run to run.
type hook struct{ p *process }

func (hook) Levels() []logrus.Level { return logrus.AllLevels }
func (h hook) Fire(e *logrus.Entry) error {
	h.p.w.mu.Lock()
	dead := h.p.dead
	h.p.w.mu.Unlock()
	if !dead {
		h.p.w.log("%s says: %s %v", h.p.id, e.Message, e.Data["host"])
	}
	return nil
}

// kill ends a process as SIGKILL does, or the loss of power.
func (w *world) kill(n *node) {
	w.mu.Lock()
	p := n.process
	n.process = nil
	if p != nil {
		w.crashes++
		p.dead = true
		if p.frozen != nil {
			close(p.frozen)
			p.frozen = nil
		}
	}
	w.mu.Unlock()
	if p != nil {
		w.log("%s is killed", p.id)
		p.stop()
		<-p.ended // what it still does reaches nobody
	}
}

// powerOff is the loss of power of a node, or its fencing.
func (w *world) powerOff(n *node) {
	w.mu.Lock()
	if n.gone.IsZero() {
		n.gone = time.Now()
	}
	n.power, n.unclean = false, n.unclean || n.isolated.IsZero()
	w.mu.Unlock()
	w.log("%s loses its power", n.name)
	w.kill(n)
}

// quorate answers whether enough nodes are together to fence one.
func (w *world) quorate() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	with := 0
	for _, n := range w.nodes {
		if n.power && n.isolated.IsZero() {
			with++
		}
	}
	return with > controllers/2
}

// fence waits until the others can fence a node, does it, and has it return.
func (w *world) fence(about string, n *node) {
	w.pause("fence "+about, 4*time.Second, 25*time.Second)
	for !w.quorate() {
		if time.Since(w.began) > chaosTime {
			break // somebody came and switched everything on
		}
		time.Sleep(time.Second + time.Duration(w.chance("wait "+about)*1e6))
	}
	w.powerOff(n)
	w.mu.Lock()
	n.unclean, n.believed, n.private, n.isolated = false, false, nil, time.Time{}
	w.mu.Unlock()
	w.log("%s is fenced", n.name)
	w.pause("boot "+about, 5*time.Second, 90*time.Second)
	w.mu.Lock()
	n.power, n.gone, n.pending = true, time.Time{}, true
	w.mu.Unlock()
	w.log("%s joins", n.name)
	w.pause("join "+about, time.Second, 5*time.Second)
	w.start(n)
}

// ---- what goes wrong

// strike is one kind of trouble, by chance.
func (w *world) strike(about string) {
	names := []string{"ctl1", "ctl2", "ctl3"}
	n := w.nodes[names[int(w.chance("node "+about)*controllers)]]
	w.mu.Lock()
	healthy := n.power && n.isolated.IsZero() && n.process != nil && n.process.frozen == nil
	p := n.process
	w.mu.Unlock()
	dest := w.hosts[1+int(w.chance("dest "+about)*float64(len(w.hosts)-1))]
	kind := int(w.chance("kind "+about) * 20)
	if kind < 6 && !healthy {
		return
	}
	switch kind {
	case 0, 1: // the process dies; Pacemaker finds out and starts another one
		w.kill(n)
		w.pause("monitor "+about, 100*time.Millisecond, monitorTime)
		w.mu.Lock()
		n.believed = false
		w.mu.Unlock()
		w.pause("restart "+about, 100*time.Millisecond, 3*time.Second)
		w.start(n)
	case 2: // power
		w.powerOff(n)
		w.fence(about, n)
	case 3: // cable: the node is on, reaches Nova, and is fenced
		w.log("%s is isolated", n.name)
		w.mu.Lock()
		n.isolated, n.private, n.unclean = time.Now(), &cib.Memory{}, true
		n.private.Restore(w.records.Copy())
		w.mu.Unlock()
		w.fence(about, n)
	case 4: // SIGSTOP: it goes on, or monitor fails and it is killed
		w.log("%s is frozen", p.id)
		frozen := make(chan struct{})
		w.mu.Lock()
		p.frozen = frozen
		w.mu.Unlock()
		w.pause("frozen "+about, time.Second, 2*monitorTime)
		if w.chance("thaw "+about) < 0.5 {
			w.log("%s goes on", p.id)
			w.mu.Lock()
			if p.frozen == frozen {
				p.frozen = nil
				close(frozen)
			}
			w.mu.Unlock()
			return
		}
		w.kill(n)
		w.mu.Lock()
		n.believed = false
		w.mu.Unlock()
		w.pause("restart "+about, 100*time.Millisecond, 3*time.Second)
		w.start(n)
	case 5: // a stop in good order, and a start
		w.mu.Lock()
		n.process = nil
		w.mu.Unlock()
		w.log("%s is stopped", p.id)
		p.stop()
		<-p.ended
		w.mu.Lock()
		n.believed = false
		w.mu.Unlock()
		w.pause("restart "+about, 100*time.Millisecond, 20*time.Second)
		w.start(n)
	case 6, 7, 8: // the API
		kinds := []string{"*", "services", "service", "servers", "migrations", "evacuate", "evacuate", "evacuate", "login", "placement", "course", "actions", "reset"}
		modes := []string{"refuse", "503", "500 after", "lost before", "lost after", "late", "late", "slow"}
		w.disturb(about, kinds[int(w.chance("fkind "+about)*float64(len(kinds)))], modes[int(w.chance("fmode "+about)*8)])
	case 9: // the CIB
		w.disturb(about, "cib", []string{"fail", "unacknowledged"}[int(w.chance("fmode "+about)*2)])
	case 10: // the CIB goes back in time
		w.rewind(about)
	case 11, 12: // a destination dies, is fenced, and evacuated
		if dest != w.hosts[len(w.hosts)-1] { // one has to be left
			on := w.powered(dest)
			w.hostDies(about, dest)
			// One that somebody switches on after minutes finds messages that were given up. Only
			// a gate that keeps its nova-compute down helps against that.
			if on && w.chance("button "+about) < 0.2 {
				w.pause("button "+about, time.Second, 30*time.Second)
				w.log("somebody pushes the button of %s", dest)
				w.switchOn("button "+about, dest, false)
			}
		}
	case 13: // rebuilds fail there for a while
		message := "No space left on device"
		_ = w.cloud.ChangeHost(dest, novasim.HostChange{Fail: &message, FailCount: 1 + int(w.chance("fails "+about)*5)})
	case 14: // no valid host for a while
		full, free := 1, 0
		for _, h := range w.hosts[1:] {
			_ = w.cloud.ChangeHost(h, novasim.HostChange{Capacity: &full})
		}
		w.pause("full "+about, 5*time.Second, 60*time.Second)
		for _, h := range w.hosts[1:] {
			_ = w.cloud.ChangeHost(h, novasim.HostChange{Capacity: &free})
		}
	case 15: // the host is powered on and dies again
		w.log("somebody switches %s on", w.hosts[0])
		w.switchOn("again "+about, w.hosts[0], w.chance("level "+about) < 0.5)
		w.pause("again "+about, time.Second, 2*bootMax)
		w.hostDies(about, w.hosts[0])
	case 16: // Nova's own parts stand still
		w.log("the scheduler is frozen")
		_ = w.cloud.ChangeControllers(novasim.ControllerChange{Scheduler: "freeze"})
		w.pause("frozen "+about, time.Second, 3*time.Minute)
		_ = w.cloud.ChangeControllers(novasim.ControllerChange{Scheduler: "thaw"})
	case 17:
		w.log("the conductor is frozen")
		_ = w.cloud.ChangeControllers(novasim.ControllerChange{Conductor: "freeze"})
		w.pause("frozen "+about, time.Second, 3*time.Minute)
		_ = w.cloud.ChangeControllers(novasim.ControllerChange{Conductor: "thaw"})
	case 18: // an operator restarts nova-compute of a destination: what is sent to it meanwhile is lost
		w.log("nova-compute of %s stops", dest)
		_ = w.cloud.ChangeHost(dest, novasim.HostChange{Compute: "stop"})
		w.pause("stopped "+about, time.Second, time.Minute)
		for w.powered(dest) && w.cloud.ChangeHost(dest, novasim.HostChange{Compute: "start"}) != nil {
			time.Sleep(time.Second) // it finishes its rebuilds first
		}
	case 19: // the cell's database is away: no list is answered, and who is at work cannot write what it did
		w.log("the database is away")
		w.away.Store(true)
		_ = w.cloud.ChangeControllers(novasim.ControllerChange{Database: "freeze"})
		w.pause("away "+about, time.Second, time.Minute)
		_ = w.cloud.ChangeControllers(novasim.ControllerChange{Database: "thaw"})
		w.away.Store(false)
	}
}

// exists is what a record names of a guest that Nova does not know of.
var exists = regexp.MustCompile(`Instance (\S+) already exists\. \(on (\S+)\): destroy that guest`)

// named is the host that a record asks an operator to evacuate in its place.
var named = regexp.MustCompile(`If the second is meant, 'nova-evac host (\S+)'`)

// stuck is what a record names that nothing in Nova tells from a slow rebuild.
var stuck = regexp.MustCompile(`'openstack server set --state error ([0-9a-f-]+)'`)

// operate does what the records ask an operator to do.
func (w *world) operate() {
	all, err := w.records.Query(context.Background())
	if err != nil {
		return
	}
	for _, r := range all {
		host := w.host(r.Host)
		if name := named.FindStringSubmatch(r.Wait.String()); name != nil && time.Since(w.operated["name "+r.Host]) > time.Minute {
			w.operated["name "+r.Host] = time.Now()
			w.byHand(name[1])
			w.log("the service of before the renaming is deleted, as the record of %s asks", r.Host)
			w.mu.Lock()
			w.stale = nova.Service{}
			w.mu.Unlock()
		}
		if id := stuck.FindStringSubmatch(r.Wait.String()); id != nil && time.Since(w.operated[id[1]]) > time.Minute {
			w.log("%s is set to error, as the record of %s asks", id[1][:8], r.Host)
			w.operated[id[1]] = time.Now()
			_ = novasim.Direct{Cloud: w.cloud}.Reset(context.Background(), id[1])
		}
		if guest := exists.FindStringSubmatch(r.Wait.String()); guest != nil && time.Since(w.operated[guest[1]]) > time.Minute {
			w.operated[guest[1]] = time.Now()
			w.log("the guest of %s on %s is destroyed, as the record of %s asks", guest[1], guest[2], r.Host)
			w.cloud.DestroyGuest(guest[1], guest[2])
		}
		if strings.Contains(r.Wait.String(), "have it fenced again ('nova-evac host --fence") && time.Since(w.operated[r.Host]) > time.Minute {
			w.log("%s is fenced again, as its record asks", r.Host)
			w.operated[r.Host] = time.Now()
			w.switchOff(w.nth("operator "+host), host)
		}
		if strings.Contains(r.Wait.String(), "'openstack compute service set --down") && time.Since(w.operated[r.Host]) > time.Minute && !w.powered(host) {
			w.log("%s is forced down, as its record asks", r.Host)
			w.operated[r.Host] = time.Now()
			down := true
			_ = w.cloud.SetService(host, novasim.ServiceChange{ForcedDown: &down})
		}
		if strings.Contains(r.Wait.String(), "then 'nova-evac admit "+host+"'") && time.Since(w.operated[r.Host]) > time.Minute {
			w.operated[r.Host] = time.Now()
			o := supervisor.Operator{Records: w.records, Nova: w.nova(), Now: time.Now}
			w.cloud.RebootGuests(host)
			w.log("%s is admitted, as its record asks: %v", r.Host, o.Admit(context.Background(), host))
		}
		if strings.Contains(r.Wait.String(), "nova-compute to be restarted") && time.Since(w.operated[r.Host]) > time.Minute {
			w.log("nova-compute of %s is restarted, as its record asks", r.Host)
			w.operated[r.Host] = time.Now()
			_ = w.cloud.ChangeHost(host, novasim.HostChange{Compute: "kill"})
			_ = w.cloud.ChangeHost(host, novasim.HostChange{Compute: "start"})
		}
	}
}

func (w *world) up(host string) bool {
	return slices.ContainsFunc(w.cloud.State().Hosts, func(h novasim.HostState) bool { return h.Name == host && h.Up })
}

func (w *world) powered(host string) bool {
	for _, h := range w.cloud.State().Hosts {
		if h.Name == host {
			return h.Power == "on"
		}
	}
	return false
}

// disturb makes trouble with the API or the CIB for some time.
func (w *world) disturb(about, kind, mode string) {
	w.log("trouble with %s: %s", kind, mode)
	w.mu.Lock()
	defer w.mu.Unlock()
	lasts := time.Duration(float64(2*time.Second) + w.chance("lasts "+about)*float64(time.Minute))
	w.faults = append(w.faults, fault{kind, mode, time.Now(), time.Now().Add(lasts), 0.2 + 0.8*w.chance("share "+about)})
}

// rewind has the CIB lose its last writes, or all. What neither Nova nor an owner
// that lives knows of is never lost: nobody could bring it back.
func (w *world) rewind(about string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.history) == 0 {
		return
	}
	back := int(w.chance("back "+about) * 20)
	was := w.history[max(len(w.history)-1-back, 0)]
	if w.chance("all "+about) < 0.3 {
		was = nil
	}
	known := map[string]record.Witness{}
	for _, h := range w.cloud.State().Hosts {
		if found, ours := record.ParseReason(h.DisabledReason); ours && h.ForcedDown {
			known[h.Name] = found
		}
	}
	all, _ := w.records.Query(context.Background())
	for host := range was {
		// One that is shown again of a host that was let in, and left no trace in Nova, nobody
		// could tell from a true one.
		if _, there := cib.Find(all, host); !there && known[w.host(host)].Gen == 0 {
			return
		}
	}
	for _, r := range all {
		if was[r.Host] != "" {
			if old, err := record.Parse(r.Host, was[r.Host]); err == nil && old.Gen == r.Gen && old.Node == r.Node {
				continue
			}
		}
		if of := known[w.host(r.Host)]; of.Gen == 0 || r.Witness().Later(of) || r.Node != of.Node {
			return
		}
	}
	w.records.Restore(was)
	w.trace = append(w.trace, fmt.Sprintf("%9.3f  the CIB goes back %d s, or loses all: %v", time.Since(w.began).Seconds(), back, was))
}

// hostDies is the death of a compute host, its fencing, and the hook.
func (w *world) hostDies(about, host string) {
	// No host boots, works and is fenced again within a minute.
	for {
		w.mu.Lock()
		last := w.fenced[host]
		if last.IsZero() || time.Since(last) > record.SameFencing {
			w.fenced[host] = time.Now() // nor does it die again while it is being fenced
			w.mu.Unlock()
			break
		}
		w.mu.Unlock()
		time.Sleep(record.SameFencing - time.Since(last) + time.Duration(1+w.chance("again "+about)*1e9))
	}
	w.log("%s dies", host)
	m := w.machines[host]
	w.mu.Lock()
	m.boot++
	m.up, m.holds, m.died, m.linked, m.unlinked = false, false, true, time.Time{}, time.Time{}
	w.mu.Unlock()
	_ = w.cloud.ChangeHost(host, novasim.HostChange{Power: "off"})
	if w.many && w.chance("quick "+about) < 0.5 { // an operator is quicker than Pacemaker
		w.pause("quick "+about, time.Second, 15*time.Second)
		w.byHand(host)
	}
	w.pause("dead "+about, 2*time.Second, 15*time.Second)
	w.fenceHost(about, host)
}

// ---- the end

// settled answers whether all is well, and if not, what is missing.
func (w *world) settled() string {
	all, err := w.records.Query(context.Background())
	if err != nil {
		return err.Error()
	}
	var missing []string
	for _, r := range all {
		if r.Err != nil || r.Unfinished() {
			missing = append(missing, r.Host+": "+r.Encode())
		}
	}
	recorded := map[string]bool{}
	for _, r := range all {
		recorded[w.host(r.Host)] = true
	}
	for _, h := range w.cloud.State().Hosts {
		recorded[h.Name] = recorded[h.Name] || h.Up // let in again: what was left there is there
	}
	for _, i := range w.cloud.State().Instances {
		if i.Condition != "running" && !i.Deleted && !w.reasoned(i, recorded) {
			missing = append(missing, fmt.Sprintf("instance %s of %s is %s (%s %s)", i.ID[:8], i.Host, i.Condition, i.VMState, i.TaskState))
		}
	}
	return strings.Join(missing, "\n")
}

// dump puts what Nova has of the evacuations and the hosts into the trace.
func (w *world) dump() {
	for _, h := range w.hosts {
		records, _ := novasim.Direct{Cloud: w.cloud}.Evacuations(context.Background(), h, time.Time{})
		for _, m := range records {
			if m.Source == h {
				w.log("record %d of %s: %s, %s to %s, created %s, updated %s", m.ID, m.Instance[:8], m.Status, m.Source, m.Dest, m.Created.Format(time.TimeOnly), m.Updated.Format(time.TimeOnly))
			}
		}
	}
	for _, h := range w.cloud.State().Hosts {
		w.log("%+v", h)
	}
}

// allReturn has every host powered on, does what the records ask an operator to do, and
// answers what is not let in within an hour, or has come to harm by it.
func (w *world) allReturn() string {
	w.log("all hosts are to return")
	began := time.Now()
	for {
		time.Sleep(time.Second + 19*time.Nanosecond)
		w.operate()
		all, err := w.records.Query(context.Background())
		if err != nil {
			return err.Error()
		}
		var missing []string
		for _, r := range all {
			missing = append(missing, "not let in: "+r.Host+" "+r.Encode())
		}
		if len(all) == 0 {
			for _, h := range w.cloud.State().Hosts {
				if h.Power == "off" { // it had no record that would have it powered on
					w.switchOn(w.nth("return "+h.Name), h.Name, false)
				}
				if !h.Up || h.Status != "enabled" || h.ForcedDown {
					missing = append(missing, fmt.Sprintf("no record, and not let in: %+v", h))
				}
			}
		}
		if len(missing) == 0 {
			return w.settled()
		}
		if time.Since(began) > time.Hour {
			return strings.Join(missing, "\n")
		}
	}
}

// reasoned: an instance that Nova does not evacuate stays, and its host's record says so;
// one that is stopped lies off on a host that came back before it was evacuated.
func (w *world) reasoned(i novasim.InstanceState, recorded map[string]bool) bool {
	return i.VMState == "paused" && recorded[i.Host] || i.VMState == "stopped" && i.Condition == "off" && w.up(i.Host)
}
