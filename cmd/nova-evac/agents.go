package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/config"
	"github.com/nova-evac/nova-evac/pkg/fence"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/ocf"
)

func runOCF(ctx context.Context, args []string) int {
	self, err := os.Executable()
	if err != nil {
		self = "/usr/sbin/nova-evac"
	}
	agent := ocf.Agent{Env: os.Getenv, Command: []string{self, "supervise", "--config-stdin"}, Stdout: printed{os.Stdout}, Stderr: printed{os.Stderr}}
	return agent.Run(ctx, args)
}

func runFence(ctx context.Context, args []string) int {
	agent := fence.Agent{
		Records: func(path string) (cib.Records, error) { records, _, err := openRecords(path); return records, err },
		Nova: func(cfg config.Config) (fence.Nova, error) {
			cfg.Nova.UserAgent = userAgent("fence")
			return nova.Connect(cfg.Nova)
		},
		Connection: cluster.NewPower(time.Now),
		Now:        time.Now, Version: version, Stdout: printed{os.Stdout}, Stderr: printed{os.Stderr},
	}
	return agent.Run(ctx, args, stdin(ctx))
}

// userAgent names the role of this process in nova-api's log.
func userAgent(role string) string { return fmt.Sprintf("nova-evac/%s (%s)", version, role) }
