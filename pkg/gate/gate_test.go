package gate

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/novasim"
	"github.com/nova-evac/nova-evac/pkg/ocf"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// view is a cluster that looks the same always.
type view struct {
	quorum bool
	err    error
}

func (v view) View(context.Context) (cluster.View, error) {
	return cluster.View{Quorum: v.quorum}, v.err
}

var joined = view{quorum: true}

func TestLook(t *testing.T) {
	now := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	fenced := record.NewlyFenced("compute-1", "", now)
	cloud := novasim.New(novasim.Config{Hosts: []string{"compute-1", "compute-2"}, Instances: []novasim.Batch{{Count: 3, Host: "compute-1"}}})
	direct := novasim.Direct{Cloud: cloud}
	services, err := direct.Services(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := direct.ForceDown(t.Context(), services[0], fenced.Witness().Reason()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		records map[string]string
		members view
		nova    bool
		host    string
		held    string // part of it
		unknown bool
	}{
		{name: "without a record it is open", members: joined, host: "compute-1"},
		{name: "while instances are left it is closed", members: joined, host: "compute-1",
			records: map[string]string{"compute-1": fenced.Claimed("ctl1", 0, now).Encode()}, held: "0 of 0 instances have left compute-1"},
		{name: "a short name is the same host", members: joined, host: "compute-1.example.org",
			records: map[string]string{"compute-1": fenced.Encode()}, held: "its record is fenced"},
		{name: "another host's record is not ours", members: joined, host: "compute-10",
			records: map[string]string{"compute-1": fenced.Encode()}},
		{name: "once evacuated it is open", members: joined, host: "compute-1",
			records: map[string]string{"compute-1": fenced.Settled(now).Encode()}},
		{name: "a record that nobody can read keeps it closed", members: joined, host: "compute-1",
			records: map[string]string{"compute-1": "phase=dancing"}, held: "malformed"},
		{name: "a node that has not joined the cluster may have records of the past", host: "compute-1", unknown: true},
		{name: "a cluster that does not answer says nothing", members: view{err: cluster.ErrUnavailable}, host: "compute-1", unknown: true},
		{name: "then Nova is asked", nova: true, host: "compute-1", held: "Nova has 3 instances on compute-1"},
		{name: "which lets a host start that was not fenced", nova: true, host: "compute-2"},
		{name: "or that it does not know", nova: true, host: "compute-9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			records := &cib.Memory{}
			records.Restore(c.records)
			g := Gate{Host: c.host, Records: records, Members: c.members}
			if c.nova {
				g.Nova = direct
			}
			held, err := g.Look(t.Context())
			if (err != nil) != c.unknown || (held == "") != (c.held == "") || !strings.Contains(held, c.held) {
				t.Errorf("held %q, %v", held, err)
			}
		})
	}
}

func TestTheAgentSetsTheAttributeAndNeverWaits(t *testing.T) {
	dir, attribute := t.TempDir(), "none"
	held, unknown := "", error(nil)
	agent := Agent{
		Look: func(_ context.Context, host string) (string, error) {
			if host != "compute-1" {
				t.Errorf("asked for %s", host)
			}
			return held, unknown
		},
		Env: func(name string) string {
			return map[string]string{"OCF_RESKEY_host": "compute-1", "OCF_RESKEY_state_dir": dir}[name]
		},
		Update: func(_ context.Context, value string) error { attribute = value; return nil },
		Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{},
	}
	for n, step := range []struct {
		action    string
		held      string
		unknown   error
		code      int
		attribute string
	}{
		{"monitor", "", nil, ocf.NotRunning, "none"},
		{"start", "", errors.New("nobody answers"), ocf.Success, "closed"},
		{"monitor", "3 instances", nil, ocf.Success, "closed"},
		{"monitor", "", nil, ocf.Success, "open"},
		{"monitor", "", errors.New("nobody answers"), ocf.Success, "open"}, // what runs is left running
		{"monitor", "3 instances", nil, ocf.Success, "closed"},
		{"stop", "", nil, ocf.Success, ""},
		{"stop", "", nil, ocf.Success, ""},
		{"monitor", "", nil, ocf.NotRunning, ""},
		{"start", "", nil, ocf.Success, "open"},
		{"promote", "", nil, ocf.Unimplemented, "open"},
	} {
		held, unknown = step.held, step.unknown
		if code := agent.Run(t.Context(), []string{step.action}); code != step.code || attribute != step.attribute {
			t.Errorf("step %d, %s: exit code %d, attribute %q", n, step.action, code, attribute)
		}
	}
}
