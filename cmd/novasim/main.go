// Command novasim is a simulated OpenStack cloud for the demo, for development and
// for the tests on a real cluster: see package novasim.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nova-evac/nova-evac/pkg/novasim"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	app := &cli.App{
		Name: "novasim", Usage: "a simulated OpenStack cloud",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Value: "127.0.0.1:0", Usage: "the `ADDRESS` to listen at"},
			&cli.StringFlag{Name: "hosts", Value: "compute-1,compute-2,compute-3,compute-4", Usage: "the compute hosts' `NAMES`"},
			&cli.StringSliceFlag{Name: "instances", Usage: "`HOST=NUMBER` of instances on a host"},
			&cli.DurationFlag{Name: "rebuild-time", Value: 3 * time.Second, Usage: "how long a rebuild takes"},
			&cli.IntFlag{Name: "rebuild-limit", Value: 10, Usage: "how many instances a host rebuilds at once"},
			&cli.DurationFlag{Name: "schedule-time", Value: 100 * time.Millisecond, Usage: "how long the scheduler takes"},
			&cli.DurationFlag{Name: "service-down-time", Value: time.Minute, Usage: "after how long a silent service is down"},
			&cli.DurationFlag{Name: "token-lifetime", Value: time.Hour, Usage: "how long a token is valid"},
			&cli.DurationFlag{Name: "latency", Usage: "how long every request takes"},
			&cli.StringFlag{Name: "max-microversion", Value: "2.93", Usage: "the highest that Nova speaks"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "of all that is random"},
			&cli.StringFlag{Name: "ready-file", Usage: "the `FILE` to write the cloud's URL to"},
		},
		Action: serve,
	}
	if err := app.RunContext(ctx, os.Args); err != nil {
		fmt.Fprintf(os.Stderr, "novasim: %v\n", err)
		os.Exit(1)
	}
}

func serve(c *cli.Context) error {
	cloud := novasim.New(novasim.Config{
		Hosts: strings.Split(c.String("hosts"), ","), RebuildTime: c.Duration("rebuild-time"), RebuildLimit: c.Int("rebuild-limit"),
		ScheduleTime: c.Duration("schedule-time"), ServiceDownTime: c.Duration("service-down-time"), TokenLifetime: c.Duration("token-lifetime"),
		Latency: c.Duration("latency"), MaxMicroversion: c.String("max-microversion"), Seed: c.Uint64("seed"),
	})
	for _, text := range c.StringSlice("instances") {
		host, number, _ := strings.Cut(text, "=")
		n, err := strconv.Atoi(number)
		if err != nil {
			return fmt.Errorf("--instances %s: give HOST=NUMBER", text)
		}
		if _, err := cloud.AddInstances(n, host, "", ""); err != nil {
			return fmt.Errorf("--instances %s: %w", text, err)
		}
	}
	listener, err := net.Listen("tcp", c.String("listen"))
	if err != nil {
		return err
	}
	url := "http://" + listener.Addr().String()
	fmt.Println(url)
	if path := c.String("ready-file"); path != "" {
		if err := os.WriteFile(path+".tmp", []byte(url+"\n"), 0o644); err != nil {
			return err
		}
		if err := os.Rename(path+".tmp", path); err != nil {
			return err
		}
	}
	server := &http.Server{Handler: cloud.Handler(), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(c.Context, func() { server.Close() })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
