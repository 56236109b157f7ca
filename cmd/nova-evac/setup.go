package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/config"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/pacemaker"
	"github.com/nova-evac/nova-evac/pkg/safefile"
	"github.com/nova-evac/nova-evac/pkg/supervisor"
)

// socketPath is where a supervisor listens.
func socketPath(stateDir string) string { return filepath.Join(stateDir, "supervisor.sock") }

// load puts a command's configuration together.
func load(c *cli.Context) (config.Config, error) {
	from := config.Sources{Given: given(c), Env: os.Getenv}
	if !c.IsSet("records") {
		from.Resource = func() (map[string]string, error) { return clusterResource(c.Context) }
	}
	cfg, warnings, err := config.Load(from)
	for _, w := range warnings {
		fmt.Fprintf(c.App.ErrWriter, "nova-evac: %s\n", w)
	}
	if err = errors.Join(err, cfg.Validate()); err != nil {
		return cfg, &exit{exitMisuse, err}
	}
	return cfg, nil
}

// connect makes the client of a command. role names the command in nova-api's log.
func connect(cfg config.Config, role string) (*nova.Client, error) {
	cfg.Nova.UserAgent = userAgent(role)
	client, err := nova.Connect(cfg.Nova)
	if err != nil {
		return nil, &exit{exitMisuse, err}
	}
	return client, nil
}

// clusterResource reads the parameters of the cluster's own nova-evacuate resource.
func clusterResource(ctx context.Context) (map[string]string, error) {
	out, _, err := pacemaker.Run(ctx, 0, "cibadmin", "--query",
		"--xpath", "//primitive[@type='nova-evacuate' or @type='NovaEvacuate']")
	if err != nil {
		return nil, nil // no cluster, or no such resource: Validate names the missing parameters
	}
	return config.FromResource(out, config.SecretsDir)
}

// openRecords gives the store of the records, and the members of the cluster.
func openRecords(path string) (cib.Records, supervisor.Membership, error) {
	if path == "" {
		return cib.Pacemaker{}, cluster.Pacemaker{}, nil
	}
	// The processes that share the file have to meet in one directory, however they name it.
	// A file that cannot be used says so when it is: a gate waits for it.
	if resolved, err := (cib.File{Path: path}).Resolve(); err == nil {
		path = resolved
	}
	local, err := localCluster(path)
	return cib.File{Path: path}, local, err
}

// hostPower switches hosts on and off through the cluster; nil with a records file, which
// has no cluster.
func hostPower(records string) supervisor.Power {
	if records != "" {
		return nil
	}
	return cluster.NewPower(time.Now)
}

// fencings gives the cluster's fencing history; nil with a records file, which has no
// cluster.
func fencings(records string) func(context.Context) ([]cluster.Fencing, error) {
	if records != "" {
		return nil
	}
	return cluster.Pacemaker{}.Fencings
}

// localCluster is the directory beside a records file in which the processes that
// share it announce themselves.
func localCluster(records string) (cluster.Local, error) {
	dir := records + ".nodes"
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return cluster.Local{}, fmt.Errorf("%w: %w", cib.ErrUnavailable, err)
	}
	return cluster.Local{Dir: dir}, nil
}

// makeStateDir makes a process's state_dir, and refuses one that another user can change.
func makeStateDir(dir string) error {
	if err := safefile.CheckDirectory(dir); err != nil {
		return &exit{exitMisuse, fmt.Errorf("state_dir: %w", err)}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("state_dir: %w", err)
	}
	return nil
}
