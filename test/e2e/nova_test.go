package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/test/conformance"
	"github.com/nova-evac/nova-evac/test/e2e/lab"
)

// computes are the compute hosts of the real Nova. compute-4 is no cluster node.
var computes = []string{"compute-1", "compute-2", "compute-3", "compute-4"}

func TestClusterWithRealNova(t *testing.T) {
	c := up(t, lab.Nova)
	c.Run("it behaves as the conformance suite says", func(t *testing.T) {
		conformance.Run(t, conformance.Cloud{Keystone: c.CloudURL() + "/v3", User: lab.User, Password: lab.Password, Project: lab.Project, HTTP: c.HTTP(),
			Boot: c.Boot, Kill: c.ComputeKill, Start: c.ComputeStart, Knob: c.Knob, Guests: c.Guests})
	})
	const servers = 20
	for _, host := range computes {
		c.must(c.Knob(host, "spawn_delay", "3"))
	}
	for _, s := range []struct {
		name, host string
		trouble    func(c *cluster, owner string)
	}{
		{"a host loses its power and its instances come back", "compute-1", nil},
		{"the owner's controller loses power half-way", "compute-2", func(c *cluster, owner string) {
			c.must(c.Kill(c.Context(), owner, "power"))
			c.must(c.WaitFenced(c.Context(), owner))
		}},
	} {
		c.Run(s.name, func(t *testing.T) {
			c := &cluster{T: t, Lab: c.Lab, sim: c.sim}
			ids, err := c.Boot(c.Context(), servers, s.host)
			c.must(err)
			start := time.Now()
			if s.trouble == nil {
				c.must(c.Kill(c.Context(), s.host, "power"))
			} else {
				c.must(c.Kill(c.Context(), s.host, "crash"))
				s.trouble(c, c.owner(s.host, servers/4))
			}
			h := c.evacuated(s.host)
			// The earlier host's instances may have come here, and leave with the others.
			if h.Done < servers || h.Failed+h.Skipped != 0 || h.Done != h.Total {
				c.Errorf("%+v", h)
			}
			t.Logf("%d instances evacuated %v after the power cut", h.Done, time.Since(start).Round(time.Second))
			c.onceOnNova(ids, s.host)
		})
	}
}

// onceOnNova asks the hypervisors and Nova: each instance runs on exactly one host,
// not the dead one, active, and by exactly one evacuation from it.
func (c *cluster) onceOnNova(ids []string, dead string) {
	c.Helper()
	guests := map[string][]string{}
	for _, host := range computes {
		on, err := c.Guests(host)
		c.must(err)
		for id := range on {
			guests[id] = append(guests[id], host)
		}
	}
	api := c.nova()
	var records struct {
		Migrations []struct {
			Instance string `json:"instance_uuid"`
			Source   string `json:"source_compute"`
			Status   string `json:"status"`
		} `json:"migrations"`
	}
	api.get(c, "/os-migrations?migration_type=evacuation&limit=1000", &records)
	evacuations := map[string][]string{}
	for _, m := range records.Migrations {
		if m.Source == dead {
			evacuations[m.Instance] = append(evacuations[m.Instance], m.Status)
		}
	}
	for _, id := range ids {
		var answer struct {
			Server struct {
				Host   string  `json:"OS-EXT-SRV-ATTR:host"`
				Status string  `json:"status"`
				Task   *string `json:"OS-EXT-STS:task_state"`
			} `json:"server"`
		}
		api.get(c, "/servers/"+id, &answer)
		s := answer.Server
		if s.Status != "ACTIVE" || s.Task != nil || s.Host == dead {
			c.Errorf("instance %s: %+v", id, s)
		}
		if on := guests[id]; len(on) != 1 || on[0] != s.Host {
			c.Errorf("instance %s runs on %v, Nova says %s", id, on, s.Host)
		}
		if e := evacuations[id]; len(e) != 1 || e[0] != "done" && e[0] != "completed" {
			c.Errorf("instance %s: its evacuations from %s are %v", id, dead, e)
		}
	}
}

// novaAPI is Nova, asked without our own client: a test must not take its word.
type novaAPI struct{ url, token string }

func (c *cluster) nova() novaAPI {
	c.Helper()
	body := fmt.Sprintf(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":%q,"domain":{"id":"default"},"password":%q}}},`+
		`"scope":{"project":{"name":%q,"domain":{"id":"default"}}}}}`, lab.User, lab.Password, lab.Project)
	r, err := http.NewRequestWithContext(c.Context(), http.MethodPost, c.CloudURL()+"/v3/auth/tokens", strings.NewReader(body))
	c.must(err)
	r.Header.Set("Content-Type", "application/json")
	answer, err := c.HTTP().Do(r)
	c.must(err)
	defer answer.Body.Close()
	var got struct {
		Token struct {
			Catalog []struct {
				Type      string
				Endpoints []struct{ URL string }
			}
		}
	}
	c.must(json.NewDecoder(answer.Body).Decode(&got))
	for _, service := range got.Token.Catalog {
		if service.Type == "compute" && len(service.Endpoints) > 0 {
			return novaAPI{service.Endpoints[0].URL, answer.Header.Get("X-Subject-Token")}
		}
	}
	c.Fatalf("keystone answered %s without a compute service", answer.Status)
	return novaAPI{}
}

func (n novaAPI) get(c *cluster, path string, into any) {
	c.Helper()
	r, err := http.NewRequestWithContext(c.Context(), http.MethodGet, n.url+path, nil)
	c.must(err)
	r.Header.Set("X-Auth-Token", n.token)
	r.Header.Set("OpenStack-API-Version", "compute 2.80")
	answer, err := c.HTTP().Do(r)
	c.must(err)
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	c.must(err)
	if answer.StatusCode != http.StatusOK {
		c.Fatalf("GET %s: %s: %s", path, answer.Status, data)
	}
	c.must(json.NewDecoder(bytes.NewReader(data)).Decode(into))
}
