package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/novasim"
	"github.com/nova-evac/nova-evac/pkg/novasim/control"
	"github.com/nova-evac/nova-evac/test/e2e/lab"
)

// engine measures a supervisor that carries many instances, on the simulated cloud:
// one big host, and the same for each instance of 10 and of 200 hosts that die at once.
func engine(ctx context.Context) error {
	const rebuild = 5 * time.Second
	one, err := carry(ctx, 1, 1000, rebuild)
	if err != nil {
		return err
	}
	ideal := 1000 / 16.0 * rebuild.Seconds()
	fmt.Printf("%-44s %.0f s, %.2f of the ideal, %.2f requests an instance (goal 1.10, 2)\n", "1,000 instances, 16 at once, 50 ms a request",
		one.took.Seconds(), one.took.Seconds()/ideal, one.requests/1000)
	for _, hosts := range []int{10, 200} {
		r, err := carry(ctx, hosts, 50, rebuild)
		if err != nil {
			return err
		}
		n := float64(hosts * 50)
		fmt.Printf("%-44s %.0f s, %.2f requests and %.1f ms of CPU an instance, peak memory %.0f MB (goal 100 MB, no growth)\n",
			fmt.Sprintf("%d hosts of 50 instances at once", hosts), r.took.Seconds(), r.requests/n, r.cpu.Seconds()*1000/n, r.memory)
	}
	return nil
}

type carried struct {
	took     time.Duration
	requests float64
	cpu      time.Duration
	memory   float64 // peak, in MB
}

// carry makes one supervisor evacuate dead hosts to the same number of live ones.
func carry(ctx context.Context, hosts, instances int, rebuild time.Duration) (r carried, err error) {
	dir, err := os.MkdirTemp("", "nova-evac-bench")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	var dead, names []string
	args := []string{"--rebuild-time", rebuild.String(), "--rebuild-limit", "0", "--schedule-time", "0s", "--latency", "50ms", "--ready-file", dir + "/url"}
	for n := range hosts {
		host := fmt.Sprintf("dead-%d", n+1)
		dead = append(dead, host)
		names = append(names, host, fmt.Sprintf("alive-%d", n+1))
		args = append(args, "--instances", fmt.Sprintf("%s=%d", host, instances))
	}
	names = append(names, "alive-0")
	sim := exec.CommandContext(ctx, "bin/novasim", append(args, "--hosts", strings.Join(names, ","))...)
	if err := sim.Start(); err != nil {
		return r, err
	}
	defer func() { _ = sim.Process.Kill(); _ = sim.Wait() }()
	var url string
	err = lab.Wait(ctx, 20*time.Second, "the simulated cloud to answer", func(context.Context) error {
		text, err := os.ReadFile(dir + "/url")
		url = strings.TrimSpace(string(text))
		return err
	})
	if err != nil {
		return r, err
	}
	cloud, records := control.Client{URL: url}, cib.File{Path: filepath.Join(dir, "records")}
	for _, host := range dead {
		if err := cloud.ChangeHost(ctx, host, novasim.HostChange{Power: "off"}); err != nil {
			return r, err
		}
	}
	supervisor := exec.CommandContext(ctx, "bin/nova-evac", "supervise", "--records", records.Path, "--node", "ctl1", "--state-dir", dir)
	supervisor.Env = append(os.Environ(), "OS_AUTH_URL="+url+"/v3", "OS_USERNAME=admin", "OS_PASSWORD=secret", "OS_PROJECT_NAME=admin")
	if err := supervisor.Start(); err != nil {
		return r, err
	}
	defer func() { _ = supervisor.Process.Kill(); _ = supervisor.Wait() }()
	before, err := cloud.Requests(ctx)
	if err != nil {
		return r, err
	}
	began := time.Now()
	for _, host := range dead {
		if _, _, err := cib.NoteFenced(ctx, records, host, "", time.Now()); err != nil {
			return r, err
		}
	}
	report, err := cloud.WaitEvacuated(ctx, hosts*instances, 20*time.Minute)
	if err != nil {
		return r, err
	}
	r.took = time.Since(began)
	if len(report.Breaches) > 0 || report.MostAccepted != 1 {
		return r, fmt.Errorf("the cloud was harmed: %+v", report)
	}
	after, err := cloud.Requests(ctx)
	if err != nil {
		return r, err
	}
	for kind, n := range after.Counts {
		r.requests += float64(n - before.Counts[kind])
	}
	return r, r.usage(supervisor.Process.Pid)
}

var highWater = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// usage reads the CPU time and the memory that a process has used so far (proc(5)).
func (r *carried) usage(pid int) error {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err
	}
	found := highWater.FindSubmatch(status)
	if found == nil {
		return fmt.Errorf("/proc/%d/status has no VmHWM", pid)
	}
	kb, err := strconv.Atoi(string(found[1]))
	if err != nil {
		return err
	}
	r.memory = float64(kb) / 1024
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return err
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	for _, n := range []int{11, 12} { // utime and stime, in hundredths of a second
		ticks, err := strconv.Atoi(fields[n])
		if err != nil {
			return err
		}
		r.cpu += time.Duration(ticks) * 10 * time.Millisecond
	}
	return nil
}
