// Command bench measures the cost of nova-evac, and prints a table. `make bench` runs it.
// As root it measures the hook and the record on the lab's real cluster as well.
//
// It measures the programs in bin/ as the cluster would run them: wall time and peak memory
// of whole processes.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nova-evac/nova-evac/pkg/novasim"
	"github.com/nova-evac/nova-evac/pkg/novasim/api"
	"github.com/nova-evac/nova-evac/test/e2e/lab"
)

func main() {
	ctx := context.Background()
	fmt.Printf("%d CPUs, %s\n\n", runtime.NumCPU(), runtime.Version())
	parts := map[string]func(context.Context) error{"agents": agents, "engine": engine, "cluster": cluster, "nova": realNova}
	order := os.Args[1:]
	if len(order) == 0 {
		order = []string{"agents", "engine", "cluster", "nova"}
	}
	for _, name := range order {
		part := parts[name]
		if part == nil {
			fmt.Fprintf(os.Stderr, "bench: there is no part %q, only agents, engine, cluster and nova\n", name)
			os.Exit(2)
		}
		if (name == "cluster" || name == "nova") && os.Getuid() != 0 {
			fmt.Printf("left out: %s, which needs root\n", name)
			continue
		}
		if err := part(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
	}
}

// sample is one run of a process.
type sample struct {
	wall time.Duration
	rss  int64 // peak, in KiB
}

// measure runs a command n times; every run has to succeed.
func measure(n int, env []string, stdin string, args ...string) ([]sample, error) {
	var samples []sample
	for range n {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(os.Environ(), env...)
		cmd.Stdin = strings.NewReader(stdin)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		began := time.Now()
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out.String())
		}
		usage, _ := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		samples = append(samples, sample{time.Since(began), usage.Maxrss})
	}
	return samples, nil
}

func report(what, goal string, samples []sample) {
	var walls []time.Duration
	var rss int64
	for _, s := range samples {
		walls = append(walls, s.wall)
		rss = max(rss, s.rss)
	}
	slices.Sort(walls)
	memory := ""
	if rss > 0 {
		memory = fmt.Sprintf(", peak memory %.1f MB", float64(rss)/1024)
	}
	fmt.Printf("%-44s median %7.1f ms, worst of %d %7.1f ms%s (goal %s)\n", what, ms(walls[len(walls)/2]), len(walls), ms(walls[len(walls)-1]), memory, goal)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// agents measures the two agents with records in a file, on the simulated cloud.
func agents(context.Context) error {
	dir, err := os.MkdirTemp("", "nova-evac-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bin, err := filepath.Abs("bin/nova-evac")
	if err != nil {
		return err
	}
	cloud := httptest.NewServer(api.New(novasim.New(novasim.Config{Hosts: []string{"compute-1", "compute-2"}}), api.Config{}))
	defer cloud.Close()
	env := []string{}
	for name, value := range map[string]string{"auth_url": cloud.URL + "/v3", "username": "admin", "password": "secret", "tenant_name": "admin",
		"records": dir + "/records", "state_dir": dir + "/run", "log_file": dir + "/log"} {
		env = append(env, "OCF_RESKEY_"+name+"="+value)
	}
	if _, err := measure(1, env, "", bin, "ocf", "start"); err != nil {
		return err
	}
	defer func() { _, _ = measure(1, env, "", bin, "ocf", "stop") }()
	samples, err := measure(100, env, "", bin, "ocf", "monitor")
	if err != nil {
		return err
	}
	report("monitor", "10 ms, 20 MB", samples)

	off := func(n int, url, records string) ([]sample, error) {
		return measure(n, nil, fmt.Sprintf("action=off\nplug=compute-1\nrecords=%s\nauth_url=%s/v3\nusername=admin\npassword=secret\ntenant_name=admin\n",
			records, url), bin, "fence")
	}
	if samples, err = off(50, cloud.URL, dir+"/off"); err != nil {
		return err
	}
	report("hook off, Nova up", "150 ms", samples)

	hanging, err := net.Listen("tcp", "127.0.0.1:0") // connections wait in the backlog for ever
	if err != nil {
		return err
	}
	defer hanging.Close()
	if samples, err = off(3, "http://"+hanging.Addr().String(), dir+"/hanging"); err != nil {
		return err
	}
	report("hook off, Nova hanging", "its bound, 5000 ms, plus 100 ms", samples)
	return nil
}

// cluster measures on the lab: the hook with the real CIB, and how often the record
// of one host's evacuation is written.
func cluster(ctx context.Context) error {
	example, err := os.ReadFile("crm-examples/nova-evac.crm")
	if err != nil {
		return err
	}
	config, err := os.CreateTemp("", "nova-evac-bench-*.crm")
	if err != nil {
		return err
	}
	defer os.Remove(config.Name())
	if _, err := config.WriteString(lab.Example(string(example), 3)); err != nil {
		return err
	}
	l, err := lab.Up(ctx, lab.Options{Config: config.Name()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Down()) }()

	// Timed inside the node: entering it is no part of the hook.
	hook := func(url string, n int) ([]sample, error) {
		out, err := l.Exec(ctx, "ctl1", "bash", "-c", fmt.Sprintf(`for i in $(seq %d); do
			cibadmin --delete --force --xpath "//cluster_property_set[@id='nova-evac']" || exit 1
			s=${EPOCHREALTIME/./}
			printf 'action=off\nplug=compute-9\nauth_url=%s/v3\nusername=admin\npassword=secret\ntenant_name=admin\n' | fence_nova_evac 2>/root/bench.err || { cat /root/bench.err >&2; exit 1; }
			echo $((${EPOCHREALTIME/./} - s))
		done; cibadmin --delete --force --xpath "//cluster_property_set[@id='nova-evac']"`, n, url))
		if err != nil {
			return nil, err
		}
		var samples []sample
		for _, text := range strings.Fields(out) {
			us, err := strconv.Atoi(text)
			if err != nil {
				return nil, fmt.Errorf("the hook's times: %w", err)
			}
			samples = append(samples, sample{wall: time.Duration(us) * time.Microsecond})
		}
		return samples, nil
	}
	// There is no compute-9: the hook asks Nova, and the live cluster does not evacuate.
	samples, err := hook(l.CloudURL(), 10)
	if err != nil {
		return err
	}
	report("hook off, real CIB, Nova up", "150 ms", samples)
	if samples, err = hook("http://192.0.2.1:5000", 2); err != nil {
		return err
	}
	report("hook off, real CIB, no route to Nova", "5100 ms", samples)
	return writes(ctx, l)
}

// writes counts the changes of the CIB's configuration while one host is evacuated:
// each raises its epoch by one.
func writes(ctx context.Context, l *lab.Lab) error {
	epoch := func() (int, error) {
		out, err := l.Exec(ctx, "ctl1", "bash", "-c", `cibadmin --query | sed -n '1s/.* epoch="\([0-9]*\)".*/\1/p'`)
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimSpace(out))
	}
	const instances = 60
	if err := l.RestartNovasim(ctx, "--rebuild-time", "5s", "--instances", fmt.Sprintf("compute-1=%d", instances)); err != nil {
		return err
	}
	before, err := epoch()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := l.Kill(ctx, "compute-1", "power"); err != nil {
		return err
	}
	var fenced time.Duration
	err = lab.Wait(ctx, 3*time.Minute, "compute-1 to be evacuated", func(ctx context.Context) error {
		out, err := l.Exec(ctx, "ctl1", "nova-evac", "status", "compute-1")
		if err != nil {
			return err
		}
		if fenced == 0 {
			fenced = time.Since(began)
		}
		if !strings.Contains(out, fmt.Sprintf("%d/%d", instances, instances)) || strings.Contains(out, "evacuating") {
			return errors.New(out)
		}
		return nil
	})
	if err != nil {
		return err
	}
	took := time.Since(began)
	after, err := epoch()
	if err != nil {
		return err
	}
	lasted := took - fenced
	fmt.Printf("%-44s %d in %v (goal %d: 4, plus one for every 5 s)\n", fmt.Sprintf("CIB writes, %d instances evacuated", instances), after-before,
		lasted.Round(time.Second), 4+int(lasted/(5*time.Second)))
	fmt.Printf("%-44s fenced and recorded after %v, evacuated after %v\n", "from the power cut on", fenced.Round(time.Second), took.Round(time.Second))
	return nil
}
