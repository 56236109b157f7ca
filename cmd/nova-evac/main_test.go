package main

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	agents "github.com/nova-evac/nova-evac/ocf"
	"github.com/nova-evac/nova-evac/pkg/novasim"
	"github.com/nova-evac/nova-evac/pkg/novasim/api"
)

// TestMain lets this binary be nova-evac under each of its names.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"nova-evac": main, "nova-evacuate": main, "fence_nova_evac": main})
}

// TestScripts runs the command lines of testdata/script. Beside testscript's own
// commands they have:
//
//	cloud HOST=N...     a simulated cloud with so many instances; sets OS_* for it
//	power off|on HOST   what a BMC would do; off also lets Nova find out
//	unharmed N          the cloud says that N instances run and no harm was done
//	exits N COMMAND...  runs a command that has to end with this exit code
//	wait_for N FILE     waits until a file is there, N seconds at most
//	log_has FILE TEXT   waits until a file has a text, a minute at most
//	hangup FILE         sends SIGHUP to the process of a pid file
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			return os.WriteFile(filepath.Join(env.WorkDir, "ocf.xml"), []byte(agents.OCFMetadata()), 0o600)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"cloud": startCloud, "power": power, "unharmed": unharmed, "exits": exits, "wait_for": waitFor,
			"log_has": logHas, "hangup": hangup,
		},
	})
}

func startCloud(ts *testscript.TestScript, _ bool, args []string) {
	cfg := novasim.Config{RebuildTime: 300 * time.Millisecond, ServiceDownTime: 100 * time.Millisecond}
	for _, arg := range args {
		host, n, _ := strings.Cut(arg, "=")
		count, err := strconv.Atoi(n)
		ts.Check(err)
		cfg.Hosts = append(cfg.Hosts, host)
		if count > 0 {
			cfg.Instances = append(cfg.Instances, novasim.Batch{Count: count, Host: host})
		}
	}
	cloud := novasim.New(cfg)
	server := httptest.NewServer(api.New(cloud, api.Config{}))
	ts.Defer(server.Close)
	// Files that are given to a command have a placeholder for the cloud's address.
	ts.Setenv("AUTH", server.URL+"/v3")
	for _, name := range []string{"off", "off2"} {
		if data, err := os.ReadFile(ts.MkAbs(name)); err == nil {
			ts.Check(os.WriteFile(ts.MkAbs(name), []byte(strings.ReplaceAll(string(data), "AUTH", server.URL+"/v3")), 0o600))
		}
	}
	clouds.Store(ts.Getenv("WORK"), cloud)
	for name, value := range map[string]string{"OS_AUTH_URL": server.URL + "/v3", "OS_USERNAME": "admin", "OS_PASSWORD": "secret", "OS_PROJECT_NAME": "admin"} {
		ts.Setenv(name, value)
	}
}

// clouds are those of the scripts that run, by their directories.
var clouds sync.Map

func cloudOf(ts *testscript.TestScript) *novasim.Cloud {
	cloud, started := clouds.Load(ts.Getenv("WORK"))
	if !started {
		ts.Fatalf("no cloud was started")
	}
	return cloud.(*novasim.Cloud)
}

func power(ts *testscript.TestScript, _ bool, args []string) {
	cloud := cloudOf(ts)
	ts.Check(cloud.ChangeHost(args[1], novasim.HostChange{Power: args[0]}))
	for deadline := time.Now().Add(5 * time.Second); args[0] == "off"; time.Sleep(20 * time.Millisecond) {
		for _, h := range cloud.State().Hosts {
			if h.Name == args[1] && !h.Up {
				return
			}
		}
		if time.Now().After(deadline) {
			ts.Fatalf("Nova takes %s for up", args[1])
		}
	}
}

func unharmed(ts *testscript.TestScript, _ bool, args []string) {
	r := cloudOf(ts).Report()
	if fmt.Sprint(r.Running) != args[0] || len(r.Breaches) > 0 || r.MostAccepted > 1 {
		ts.Fatalf("%+v", r)
	}
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, expected %s", code, args[0])
	}
}

func waitFor(ts *testscript.TestScript, _ bool, args []string) {
	seconds, err := strconv.Atoi(args[0])
	ts.Check(err)
	for deadline := time.Now().Add(time.Duration(seconds) * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(ts.MkAbs(args[1])); err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s is not there after %s seconds", args[1], args[0])
		}
	}
}

func logHas(ts *testscript.TestScript, _ bool, args []string) {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if data, err := os.ReadFile(ts.MkAbs(args[0])); err == nil && strings.Contains(string(data), args[1]) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s does not say %q", args[0], args[1])
		}
	}
}

func hangup(ts *testscript.TestScript, _ bool, args []string) {
	pid, _, _ := strings.Cut(ts.ReadFile(args[0]), " ")
	n, err := strconv.Atoi(pid)
	ts.Check(err)
	ts.Check(syscall.Kill(n, syscall.SIGHUP))
}
