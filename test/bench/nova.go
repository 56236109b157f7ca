package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/nova-evac/nova-evac/pkg/evacuate"
	"github.com/nova-evac/nova-evac/pkg/history"
	"github.com/nova-evac/nova-evac/pkg/identity"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/record"
	"github.com/nova-evac/nova-evac/test/e2e/lab"
)

const (
	novaServers = 30
	novaHost    = "compute-1"
	// novaSpawn is the time of a rebuild on the lab's hypervisors, in seconds.
	novaSpawn = "2"
	// novaWait bounds every wait.
	novaWait = 5 * time.Minute
)

// realNova measures how long a host takes to be empty on the lab's real Nova: with so
// many in flight, and by a plain loop of requests, as `nova host-evacuate` sends them.
func realNova(ctx context.Context) error {
	l, err := lab.Up(ctx, lab.Options{Cloud: lab.Nova})
	if err != nil {
		return err
	}
	defer func() { _ = l.Down() }()
	for _, host := range []string{"compute-1", "compute-2", "compute-3", "compute-4"} {
		if err := l.Knob(host, "spawn_delay", novaSpawn); err != nil {
			return err
		}
	}
	transport, _ := l.HTTP().Transport.(*http.Transport)
	client, err := nova.Connect(nova.Options{AuthURL: l.CloudURL() + "/v3", Username: lab.User, Password: lab.Password, ProjectName: lab.Project, Dial: transport.DialContext})
	if err != nil {
		return err
	}
	for _, inFlight := range []int{0, 16, 64, 1} {
		if _, err := l.Boot(ctx, novaServers, novaHost); err != nil {
			return err
		}
		if err := l.ComputeKill(novaHost); err != nil {
			return err
		}
		service, err := novaService(ctx, client)
		if err != nil {
			return err
		}
		began, name := time.Now(), fmt.Sprintf("%d in flight", inFlight)
		claim := record.Witness{Gen: 1, Since: began, Claim: fmt.Sprintf("bench/%d", inFlight)}
		if err := client.ForceDown(ctx, service, claim.Reason()); err != nil {
			return err
		}
		if inFlight == 0 {
			name = "a plain loop of requests"
			err = plainLoop(ctx, client)
		} else {
			err = evacuateWith(ctx, client, claim, inFlight)
		}
		if err != nil {
			return err
		}
		fmt.Printf("real Nova, %d instances of %s s, %-24s  %5.1f s\n", novaServers, novaSpawn, name, time.Since(began).Seconds())
		if err := readmit(ctx, l, client); err != nil {
			return err
		}
	}
	return nil
}

func novaService(ctx context.Context, client *nova.Client) (nova.Service, error) {
	services, err := client.Services(ctx)
	if err != nil {
		return nova.Service{}, err
	}
	m := identity.NewCloud(services, "", history.Clock{}).Named(novaHost)
	return m.Service, m.Err()
}

// evacuateWith makes the engine evacuate the host.
func evacuateWith(ctx context.Context, client *nova.Client, claim record.Witness, inFlight int) error {
	log := logrus.New()
	log.SetOutput(io.Discard)
	policy := evacuate.DefaultPolicy
	policy.MaxInFlight = inFlight
	failed := 0
	e := evacuate.Evacuation{Host: novaHost, Witness: claim, Nova: client, Policy: policy, Poll: func() time.Duration { return time.Second }, Now: time.Now,
		May: func() error { return nil }, Report: func(p evacuate.Progress) int { failed = p.Failed; return p.Failed }, Log: logrus.NewEntry(log)}
	ctx, cancel := context.WithTimeout(ctx, novaWait)
	defer cancel()
	if err := e.Run(ctx); err != nil {
		return fmt.Errorf("%w, %d failed", err, failed)
	}
	return nil
}

// plainLoop sends one request after the other, and waits until the host is empty.
func plainLoop(ctx context.Context, client *nova.Client) error {
	servers, err := client.Servers(ctx, novaHost)
	if err != nil {
		return err
	}
	for _, s := range servers {
		if err := client.Evacuate(ctx, s.ID, ""); err != nil {
			return err
		}
	}
	return await(func() (bool, error) {
		servers, err := client.Servers(ctx, novaHost)
		for _, s := range servers {
			if s.VMState == "error" && s.TaskState == "" {
				return false, fmt.Errorf("instance %s has failed, and nobody tries again: %s", s.ID, s.Fault)
			}
		}
		return err == nil && len(servers) == 0, err
	})
}

// readmit starts the host's nova-compute and lets it in.
func readmit(ctx context.Context, l *lab.Lab, client *nova.Client) error {
	if err := l.ComputeStart(novaHost); err != nil {
		return err
	}
	var beat time.Time
	return await(func() (bool, error) {
		service, err := novaService(ctx, client)
		if err != nil {
			return false, err
		}
		if service.ForcedDown {
			if err := client.ForceUp(ctx, service); err != nil && !errors.Is(err, nova.ErrRefused) {
				return false, err
			}
			return false, nil
		}
		if !service.Enabled {
			return false, client.Enable(ctx, service)
		}
		// A host that is forced up is up at once, and messages before it listens are lost.
		if beat.IsZero() {
			beat = service.Updated
		}
		return service.Up && service.Updated.After(beat), nil
	})
}

// await waits until done, half a second between two looks.
func await(done func() (bool, error)) error {
	for end := time.Now().Add(novaWait); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		if ok, err := done(); ok || err != nil {
			return err
		}
	}
	return fmt.Errorf("not done after %v", novaWait)
}
