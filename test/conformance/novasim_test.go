package conformance

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/pkg/novasim"
	"github.com/nova-evac/nova-evac/pkg/novasim/api"
)

func TestTheSimulatedCloud(t *testing.T) {
	cloud := novasim.New(novasim.Config{Hosts: []string{"compute-1", "compute-2", "compute-3", "compute-4"}, RebuildTime: 50 * time.Millisecond, ReportInterval: 100 * time.Millisecond, RPCTimeout: 500 * time.Millisecond})
	server := httptest.NewServer(api.New(cloud, api.Config{}))
	defer server.Close()
	change := func(host string, c novasim.HostChange) error { return cloud.ChangeHost(host, c) }
	freeze := func(service, what string) error {
		return cloud.ChangeControllers(map[string]novasim.ControllerChange{"conductor": {Conductor: what}, "scheduler": {Scheduler: what}, "database": {Database: what}}[service])
	}
	Run(t, Cloud{
		Keystone: server.URL + "/v3", User: "admin", Password: "secret", Project: "admin", HTTP: server.Client(),
		Boot: func(_ context.Context, n int, host string) ([]string, error) {
			return cloud.AddInstances(novasim.Batch{Count: n, Host: host})
		},
		Group: func(_ context.Context, hosts ...string) (ids []string, err error) {
			for _, host := range hosts {
				one, err := cloud.AddInstances(novasim.Batch{Host: host, Group: "apart"})
				if err != nil {
					return nil, err
				}
				ids = append(ids, one...)
			}
			return ids, nil
		},
		Kill: func(host string) error { return change(host, novasim.HostChange{Power: "off"}) },
		Stop: func(host string) error {
			if err := change(host, novasim.HostChange{Compute: "stop"}); err != nil {
				return err
			}
			for {
				for _, h := range cloud.State().Hosts {
					if h.Name == host && h.Compute == "stopped" {
						return nil
					}
				}
				time.Sleep(10 * time.Millisecond)
			}
		},
		Freeze: func(service string) error { return freeze(service, "freeze") },
		Thaw:   func(service string) error { return freeze(service, "thaw") },
		Start: func(host string) error {
			return change(host, novasim.HostChange{Power: "on", Compute: "start"})
		},
		Knob: func(host, knob, value string) error {
			on := value != ""
			switch knob {
			case "spawn_delay": // twenty times as fast
				seconds, err := strconv.Atoi(value)
				if err != nil {
					return err
				}
				return change(host, novasim.HostChange{RebuildTime: fmt.Sprint(time.Duration(seconds) * 50 * time.Millisecond)})
			case "spawn_fail":
				return change(host, novasim.HostChange{Fail: &value})
			case "spawn_hang":
				return change(host, novasim.HostChange{Hang: &on})
			case "resume_guests":
				return change(host, novasim.HostChange{ResumeGuests: &on})
			}
			return fmt.Errorf("no knob %s", knob)
		},
		Guests: func(host string) (map[string]bool, error) {
			guests := map[string]bool{}
			for _, h := range cloud.State().Hosts {
				for _, id := range h.Guests {
					if h.Name == host {
						guests[id] = true
					}
				}
			}
			return guests, nil
		},
	})
}
