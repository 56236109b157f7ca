// Package lab drives the lab under test/lab from Go tests: a real Pacemaker cluster
// of three controllers and three remote nodes in network namespaces, and a cloud that
// it can reach, simulated (novasim) or a real Nova on fake hypervisors.
//
// It needs root and the packages that test/lab/install.sh installs. As for the
// scripts, NOVA_EVAC_LAB names the lab and NOVA_EVAC_NET is its network. One with a real
// Nova has "_nova" after its name and the next network, so that it can be up
// beside one with novasim.
package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The clouds that a lab can have.
const (
	Novasim = "novasim"
	Nova    = "nova"
	None    = "none"
)

// User, Password and Project are what every cloud of a lab accepts.
const (
	User     = "admin"
	Password = "secret"
	Project  = "admin"
)

// How long the scripts may take. They have bounds of their own, which say more; these
// are for the case that one of those does not hold.
const (
	upTimeout    = 10 * time.Minute // a first real Nova on a busy machine
	longTimeout  = 5 * time.Minute
	shortTimeout = 90 * time.Second
)

// Options say what lab to bring up.
type Options struct {
	Cloud  string // Novasim if empty
	Config string // path of a crmsh configuration to load; @NET@ and @AUTH_URL@ in it are replaced
	// Remotes is how many remote nodes there are, 3 if 0. The cloud has one compute host more.
	Remotes int
}

// Lab is a lab that is up.
type Lab struct {
	dir   string // of the scripts
	name  string
	net   string
	cloud string
	http  *http.Client
}

// Up brings a lab up and waits until all of its configuration runs. The lab goes down
// with Down, or by itself when this process ends, in whatever way. A lab of the same
// name that no living process owns is replaced.
func Up(ctx context.Context, o Options) (*Lab, error) {
	dir, err := scripts()
	if err != nil {
		return nil, err
	}
	l := &Lab{dir: dir, name: getenv("NOVA_EVAC_LAB", "nevac"), net: getenv("NOVA_EVAC_NET", "10.77.0"), cloud: o.Cloud}
	switch l.cloud {
	case "":
		l.cloud = Novasim
	case Nova:
		l.name += "_nova"
		if l.net, err = networkAfter(l.net); err != nil {
			return nil, err
		}
	}
	l.http = &http.Client{
		Transport: &http.Transport{DialContext: l.dial, MaxIdleConnsPerHost: 4, IdleConnTimeout: 10 * time.Second},
		Timeout:   2 * time.Minute,
	}
	args := []string{"--cloud", l.cloud, "--owner", strconv.Itoa(os.Getpid())}
	if o.Config != "" {
		config, err := filepath.Abs(o.Config)
		if err != nil {
			return nil, err
		}
		args = append(args, "--config", config)
	}
	if o.Remotes != 0 {
		args = append(args, "--remotes", strconv.Itoa(o.Remotes))
	}
	if _, err := l.run(ctx, upTimeout, unix.SIGTERM, "up.sh", args...); err != nil {
		return nil, err
	}
	return l, nil
}

// networkAfter is the network whose third number is the next one.
func networkAfter(network string) (string, error) {
	var a, b, c int
	if _, err := fmt.Sscanf(network, "%d.%d.%d", &a, &b, &c); err != nil || c > 254 {
		return "", fmt.Errorf("NOVA_EVAC_NET=%s: three numbers, as in 10.77.0, the last of them below 255", network)
	}
	return fmt.Sprintf("%d.%d.%d", a, b, c+1), nil
}

// Down takes the lab down: every process, namespace and file of it. Doing it twice is
// no error.
func (l *Lab) Down() error {
	l.http.CloseIdleConnections()
	_, err := l.run(context.Background(), shortTimeout, unix.SIGTERM, "down.sh")
	return err
}

// Exec runs a command inside a node, at most until ctx ends or five minutes are over,
// and returns its standard output. A command that fails gives an error that wraps
// *exec.ExitError, and standard output all the same.
func (l *Lab) Exec(ctx context.Context, node string, args ...string) (string, error) {
	return l.run(ctx, longTimeout, unix.SIGKILL, "exec.sh", append([]string{node}, args...)...)
}

// Power does what a node's BMC would: action is "on", "off", "reboot" or "status". A
// compute host's nova-compute and guests live and die with its power; when Power
// returns, they have.
func (l *Lab) Power(ctx context.Context, action, node string) error {
	_, err := l.run(ctx, shortTimeout, unix.SIGTERM, "power.sh", action, node)
	return err
}

// Kill harms a node. The modes:
//
//	crash   all of its processes are killed at once, its addresses stay
//	power   power cut
//	unplug  its cable is pulled; it runs on, isolated (but a compute host's
//	        nova-compute, which lives elsewhere, still reaches the cloud)
//	replug  the cable is back
//	freeze  every process is stopped
//	thaw    they go on
func (l *Lab) Kill(ctx context.Context, node, mode string) error {
	_, err := l.run(ctx, shortTimeout, unix.SIGTERM, "kill-node.sh", node, mode)
	return err
}

// Gate has nova-compute of every compute host that is powered on from now on start behind
// nova-evac gate, or, with on false, at once.
func (l *Lab) Gate(ctx context.Context, on bool) error {
	word := "off"
	if on {
		word = "on"
	}
	_, err := l.run(ctx, shortTimeout, unix.SIGTERM, "gate.sh", word)
	return err
}

// HTTP gives a client that reaches the cloud's address from this process. Every
// answer must be there within two minutes.
func (l *Lab) HTTP() *http.Client { return l.http }

// CloudURL is the URL at which keystone answers, without /v3: the OS_AUTH_URL of the
// lab is CloudURL()+"/v3", and novasim's control API is below CloudURL()+"/control/".
func (l *Lab) CloudURL() string {
	if l.cloud == Nova {
		return "http://" + l.net + ".250:15000"
	}
	return "http://" + l.net + ".250:5000"
}

// RestartNovasim kills the simulated cloud and starts a fresh one with these arguments
// ("--instances", "compute-1=5", ...; --listen and --hosts are given). It remembers
// nothing but which nodes are without power.
func (l *Lab) RestartNovasim(ctx context.Context, args ...string) error {
	if l.cloud != Novasim {
		return fmt.Errorf("the cloud of lab %s is %s, not %s", l.name, l.cloud, Novasim)
	}
	l.http.CloseIdleConnections()
	_, err := l.run(ctx, shortTimeout, unix.SIGTERM, "cloud.sh", args...)
	return err
}

// Boot has the real Nova boot n servers on a host, or on any if host is "", waits up
// to five minutes until all are ACTIVE, and returns their ids.
func (l *Lab) Boot(ctx context.Context, n int, host string) ([]string, error) {
	args := []string{strconv.Itoa(n)}
	if host != "" {
		args = append(args, host)
	}
	return l.boot(ctx, n, args...)
}

// Group boots a server on each of the hosts, all of one server group that allows one per
// host, and returns their ids in this order.
func (l *Lab) Group(ctx context.Context, hosts ...string) ([]string, error) {
	return l.boot(ctx, len(hosts), append([]string{"--group"}, hosts...)...)
}

func (l *Lab) boot(ctx context.Context, n int, args ...string) ([]string, error) {
	out, err := l.nova(ctx, longTimeout+30*time.Second, "boot.sh", args...)
	if err != nil {
		return nil, err
	}
	var ids []string
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 0 {
			ids = append(ids, f[0])
		}
	}
	if len(ids) != n {
		return nil, fmt.Errorf("boot.sh was to boot %d servers and printed %d ids: %q", n, len(ids), out)
	}
	return ids, nil
}

// Guests tells which servers have a guest on a host of the real Nova: what its
// hypervisor runs, whatever Nova believes.
func (l *Lab) Guests(host string) (map[string]bool, error) {
	path := filepath.Join("/tmp/nova-evac-lab-"+l.name, "nova/state", host, "guests.json") // as compute.sh and labdrv.py have it
	out, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("guests of %s: %w", host, err)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(out, &all); err != nil {
		return nil, fmt.Errorf("guests of %s: %w in %q", host, err, out)
	}
	guests := make(map[string]bool, len(all))
	for id := range all {
		guests[id] = true
	}
	return guests, nil
}

// Knob sets a knob of the fake hypervisor of a host of the real Nova, and "" removes
// it: spawn_delay, claim_delay, spawn_fail, spawn_hang, no_evacuate, resume_guests. They are
// described in test/lab/nova/py/labdrv.py.
func (l *Lab) Knob(host, knob, value string) error {
	if value == "" {
		value = "-"
	}
	_, err := l.nova(context.Background(), shortTimeout, "compute.sh", "ctl", host, knob, value)
	return err
}

// ComputeStart starts nova-compute on a host of the real Nova and waits up to a minute
// until it is ready.
func (l *Lab) ComputeStart(host string) error {
	_, err := l.nova(context.Background(), shortTimeout, "compute.sh", "start", host)
	return err
}

// ComputeStop tells nova-compute of a host to stop, and waits until it has.
func (l *Lab) ComputeStop(host string) error {
	_, err := l.nova(context.Background(), shortTimeout, "compute.sh", "stop", host)
	return err
}

// ComputeKill is the loss of a host's power as far as the real Nova goes: its
// nova-compute and its guests are gone. The cluster's node of that name, if there is
// one, is left alone: see Power for both.
func (l *Lab) ComputeKill(host string) error {
	for _, action := range []string{"kill", "wipe"} {
		if _, err := l.nova(context.Background(), shortTimeout, "compute.sh", action, host); err != nil {
			return err
		}
	}
	return nil
}

// Freeze has one of the real Nova's own services stand still: conductor, scheduler or api; or has the
// cell's database be away.
func (l *Lab) Freeze(service string) error {
	_, err := l.nova(context.Background(), shortTimeout, "control.sh", "freeze", service)
	return err
}

// Thaw has it go on.
func (l *Lab) Thaw(service string) error {
	_, err := l.nova(context.Background(), shortTimeout, "control.sh", "thaw", service)
	return err
}

// Logs copies all logs of the lab to a directory: each node's, the BMC's, the cloud's.
func (l *Lab) Logs(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	_, err = l.run(context.Background(), shortTimeout, unix.SIGTERM, "logs.sh", dir)
	return err
}

func (l *Lab) nova(ctx context.Context, timeout time.Duration, script string, args ...string) (string, error) {
	if l.cloud != Nova {
		return "", fmt.Errorf("the cloud of lab %s is %s, not a real Nova", l.name, l.cloud)
	}
	return l.run(ctx, timeout, unix.SIGTERM, "nova/"+script, args...)
}

// run runs a script of the lab in a process group of its own, which gets the signal
// when the time is over. It returns standard output; an error has both outputs.
func (l *Lab) run(ctx context.Context, timeout time.Duration, signal syscall.Signal, script string, args ...string) (string, error) {
	start := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not done after %v", timeout))
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(l.dir, script), args...)
	var stdout, both bytes.Buffer
	var mu sync.Mutex
	cmd.Stdout, cmd.Stderr = tee{&mu, []*bytes.Buffer{&stdout, &both}}, tee{&mu, []*bytes.Buffer{&both}}
	cmd.Env = append(os.Environ(), "NOVA_EVAC_LAB="+l.name, "NOVA_EVAC_NET="+l.net)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, signal) }
	cmd.WaitDelay = 30 * time.Second // for up.sh to clean up
	err := cmd.Run()
	if err == nil {
		return stdout.String(), nil
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w (%w)", cause, err)
	}
	return stdout.String(), fmt.Errorf("%s %s, after %.1f s: %w; it said:\n%s", script, strings.Join(args, " "),
		time.Since(start).Seconds(), err, tail(both.String(), 60))
}

// dial connects from within the cloud's network namespace.
func (l *Lab) dial(ctx context.Context, network, address string) (net.Conn, error) {
	// A name would be resolved by other threads, in other namespaces.
	if host, _, err := net.SplitHostPort(address); err != nil || net.ParseIP(host) == nil {
		return nil, fmt.Errorf("%s: the lab's client reaches IP addresses only", address)
	}
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		// Never unlocked: with this goroutine its thread ends, and nothing else runs
		// in that namespace by accident.
		runtime.LockOSThread()
		ns, err := os.Open("/run/netns/" + l.name + "-cloud")
		if err != nil {
			done <- result{err: fmt.Errorf("the cloud of lab %s is not up: %w", l.name, err)}
			return
		}
		err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		ns.Close()
		if err != nil {
			done <- result{err: fmt.Errorf("entering the network namespace %s-cloud: %w", l.name, err)}
			return
		}
		conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, address)
		done <- result{conn, err}
	}()
	r := <-done // the dialer is bounded
	return r.conn, r.err
}

// scripts finds test/lab, from the directory in which the test runs upwards.
func scripts() (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "test/lab/up.sh")); err == nil {
			return filepath.Join(dir, "test/lab"), nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("test/lab/up.sh is neither in %s nor above it", wd)
		}
	}
}

// tee writes to buffers that other tees share: exec copies each output in a goroutine
// of its own, hence the lock.
type tee struct {
	mu      *sync.Mutex
	buffers []*bytes.Buffer
}

func (t tee) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range t.buffers {
		b.Write(p)
	}
	return len(p), nil
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func getenv(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}
