package conformance

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/pkg/novasim"
)

func TestTheSimulatedCloud(t *testing.T) {
	cloud := novasim.New(novasim.Config{Hosts: []string{"compute-1", "compute-2", "compute-3", "compute-4"}, RebuildTime: 50 * time.Millisecond})
	server := httptest.NewServer(cloud.Handler())
	defer server.Close()
	change := func(host string, c novasim.HostChange) error { return cloud.ChangeHost(host, c) }
	Run(t, Cloud{
		Keystone: server.URL + "/v3", User: "admin", Password: "secret", Project: "admin", HTTP: server.Client(),
		Boot: func(_ context.Context, n int, host string) ([]string, error) {
			return cloud.AddInstances(novasim.Batch{Count: n, Host: host})
		},
		Kill:  func(host string) error { return change(host, novasim.HostChange{Power: "off"}) },
		Start: func(host string) error { return change(host, novasim.HostChange{Power: "on"}) },
		Knob: func(host, knob, value string) error {
			hang := value != ""
			switch knob {
			case "spawn_fail":
				return change(host, novasim.HostChange{Fail: &value})
			case "spawn_hang":
				return change(host, novasim.HostChange{Hang: &hang})
			}
			return nil // spawn_delay: it takes its time
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
