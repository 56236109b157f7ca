// Command novasim is a simulated OpenStack cloud for the demo, for development and
// for the tests on a real cluster: see packages novasim and novasim/api.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"

	"github.com/nova-evac/nova-evac/pkg/novasim"
	"github.com/nova-evac/nova-evac/pkg/novasim/api"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := app().RunContext(ctx, os.Args); err != nil {
		fmt.Fprintf(os.Stderr, "novasim: %v\n", err)
		os.Exit(1)
	}
}

func app() *cli.App {
	return &cli.App{
		Name: "novasim", Usage: "a simulated OpenStack cloud", HideHelpCommand: true,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Value: "127.0.0.1:0", Usage: "the `ADDRESS` to listen at"},
			&cli.StringFlag{Name: "hosts", Value: "compute-1,compute-2,compute-3,compute-4", Usage: "the compute hosts' `NAMES`"},
			&cli.StringSliceFlag{Name: "instances", Usage: "`HOST=NUMBER` of instances on a host; may be repeated"},
			&cli.DurationFlag{Name: "rebuild-time", Value: 3 * time.Second, Usage: "how long a rebuild takes"},
			&cli.IntFlag{Name: "rebuild-limit", Value: 10, Usage: "how many instances a host rebuilds at once, 0 for any number"},
			&cli.DurationFlag{Name: "schedule-time", Value: 100 * time.Millisecond, Usage: "how long the scheduler takes"},
			&cli.DurationFlag{Name: "claim-delay", Usage: "how long a destination takes before it touches anything"},
			&cli.DurationFlag{Name: "service-down-time", Value: time.Minute, Usage: "after how long a silent service is down"},
			&cli.BoolFlag{Name: "resume-guests", Usage: "have hosts start their guests when they boot"},
			&cli.DurationFlag{Name: "token-lifetime", Value: time.Hour, Usage: "how long a token is valid"},
			&cli.DurationFlag{Name: "latency", Usage: "how long every request takes"},
			&cli.StringFlag{Name: "max-microversion", Value: "2.93", Usage: "the highest that Nova speaks"},
			&cli.StringFlag{Name: "user", Value: "admin", Usage: "the administrator's `NAME`"},
			&cli.StringFlag{Name: "password", Value: "secret", Usage: "the administrator's password"},
			&cli.StringFlag{Name: "project", Value: "admin", Usage: "the administrator's project"},
			&cli.StringFlag{Name: "public-url", Usage: "the `URL` that the catalogue names, instead of the one that the client used"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "of all that is random"},
			&cli.StringFlag{Name: "ready-file", Usage: "the `FILE` to write the cloud's URL to"},
			&cli.BoolFlag{Name: "verbose", Usage: "log every request"},
		},
		Action: serve,
	}
}

// config turns the flags into the configurations of the cloud and of its HTTP surface.
func config(c *cli.Context) (novasim.Config, api.Config, error) {
	if c.NArg() > 0 {
		return novasim.Config{}, api.Config{}, fmt.Errorf("%s: there are no arguments, only options", c.Args().First())
	}
	hosts := strings.Split(c.String("hosts"), ",")
	if slices.Contains(hosts, "") {
		return novasim.Config{}, api.Config{}, fmt.Errorf("--hosts %q: a name is empty", c.String("hosts"))
	}
	var batches []novasim.Batch
	for _, text := range c.StringSlice("instances") {
		host, number, _ := strings.Cut(text, "=")
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 {
			return novasim.Config{}, api.Config{}, fmt.Errorf("--instances %s: give HOST=NUMBER", text)
		}
		if !slices.Contains(hosts, host) {
			return novasim.Config{}, api.Config{}, fmt.Errorf("--instances %s: no host %s in --hosts", text, host)
		}
		if n > 0 {
			batches = append(batches, novasim.Batch{Host: host, Count: n})
		}
	}
	if major, minor, _ := strings.Cut(c.String("max-microversion"), "."); major != "2" || !isNumber(minor) {
		return novasim.Config{}, api.Config{}, fmt.Errorf("--max-microversion %s: give one like 2.93", c.String("max-microversion"))
	}
	return novasim.Config{
			Hosts: hosts, Instances: batches, RebuildTime: c.Duration("rebuild-time"), RebuildLimit: c.Int("rebuild-limit"),
			ScheduleTime: c.Duration("schedule-time"), ClaimDelay: c.Duration("claim-delay"), ServiceDownTime: c.Duration("service-down-time"),
			ResumeGuests: c.Bool("resume-guests"), Seed: c.Uint64("seed"),
		}, api.Config{
			TokenLifetime: c.Duration("token-lifetime"), Latency: c.Duration("latency"), MaxMicroversion: c.String("max-microversion"),
			User: c.String("user"), Password: c.String("password"), Project: c.String("project"), PublicURL: c.String("public-url"),
			Seed: c.Uint64("seed"),
		}, nil
}

func isNumber(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

func serve(c *cli.Context) error {
	cloud, surface, err := config(c)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.String("listen"))
	if err != nil {
		return err
	}
	var handler http.Handler = api.New(novasim.New(cloud), surface)
	if c.Bool("verbose") {
		log := logrus.New()
		log.SetOutput(c.App.ErrWriter)
		handler = logged(handler, log)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	// Requests in flight are cut at once, as when a real cloud dies.
	stop := context.AfterFunc(c.Context, func() { _ = server.Close() })
	defer stop()
	url := "http://" + listener.Addr().String()
	fmt.Fprintln(c.App.Writer, url)
	if path := c.String("ready-file"); path != "" {
		if err := announce(path, url); err != nil {
			_ = listener.Close()
			return fmt.Errorf("--ready-file: %w", err)
		}
	}
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// announce writes a file in one step, so that no reader sees a part of it.
func announce(path, url string) error {
	if err := os.WriteFile(path+".tmp", []byte(url+"\n"), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// logged writes a line for every request, even for one that is cut off.
func logged(handler http.Handler, log *logrus.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		seen := &seenStatus{ResponseWriter: w}
		defer func() {
			log.WithFields(logrus.Fields{"client": r.RemoteAddr, "agent": r.UserAgent(), "status": seen.status,
				"took": time.Since(start).Round(time.Millisecond)}).Infof("%s %s", r.Method, r.URL.RequestURI())
		}()
		handler.ServeHTTP(seen, r)
	})
}

// seenStatus remembers the status that was answered, 0 for none.
type seenStatus struct {
	http.ResponseWriter
	status int
}

func (s *seenStatus) WriteHeader(code int) {
	s.status = code
	s.ResponseWriter.WriteHeader(code)
}

func (s *seenStatus) Write(p []byte) (int, error) {
	if s.status == 0 {
		s.status = http.StatusOK
	}
	return s.ResponseWriter.Write(p)
}
