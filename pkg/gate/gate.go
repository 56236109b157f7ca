// Package gate keeps nova-compute from starting on a fenced host until the instances of
// the host have left it. When nova-compute starts, it destroys the guests and the disks of
// all instances whose evacuation has begun, even of those that are not elsewhere yet
// (nova/compute/manager.py, _destroy_evacuated_instances).
package gate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/history"
	"github.com/nova-evac/nova-evac/pkg/identity"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// Errors of Wait when its context ends.
var (
	// ErrHeld: instances have not left the host yet.
	ErrHeld = errors.New("the host is still being evacuated")
	// ErrUnknown: neither the records nor Nova could be asked, or they do not know the host.
	ErrUnknown = errors.New("nobody can say whether the host is being evacuated")
)

// Gate is the gate of one host. It asks the records and, where those cannot be reached,
// Nova.
type Gate struct {
	// Host is a name of it: Nova's, the cluster's, or that of the machine.
	Host string
	// Node gives the cluster's name of this machine; nil, or an empty name: nobody can tell.
	Node    func(ctx context.Context) string
	Records cib.Records
	// Members tells whether the records can be trusted: a node that has not joined the
	// cluster yet has the CIB of before its fencing.
	Members interface {
		View(ctx context.Context) (cluster.View, error)
	}
	// Nova may be nil.
	Nova interface {
		Services(ctx context.Context) ([]nova.Service, error)
		Servers(ctx context.Context, host string) ([]nova.Server, error)
	}
	// OpenUnknown, unless it is 0, is the time after which the gate opens although neither
	// the records nor Nova could be asked.
	OpenUnknown time.Duration
	// Poll is the pause between two looks.
	Poll time.Duration
	// Attest tells the cluster, again and again, that the gate holds nova-compute back, and
	// once that it no longer does. Without it nothing is evacuated from a host that is on.
	// nil: there is no cluster.
	Attest func(ctx context.Context, holds bool) error
	// Say is called with the reason for waiting, whenever that changes.
	Say func(string)
}

// Wait returns nil when nova-compute may start.
func (g Gate) Wait(ctx context.Context) error {
	tick := time.NewTicker(g.Poll)
	defer tick.Stop()
	said, began := "", time.Now()
	untold := ""
	for {
		held, err := g.Look(ctx)
		switch {
		case err == nil && held == "":
			g.attest(ctx, false)
			return nil
		case err != nil && g.OpenUnknown > 0 && time.Since(began) >= g.OpenUnknown:
			g.Say(fmt.Sprintf("%v: the gate opens all the same, as it was told to", err))
			g.attest(ctx, false)
			return nil
		case err == nil:
			if trouble := g.attest(ctx, true); trouble != untold && ctx.Err() == nil {
				if untold = trouble; trouble != "" {
					g.Say(trouble)
				}
			}
			err = fmt.Errorf("%w: %s", ErrHeld, held)
			began = time.Now()
		default:
			err = fmt.Errorf("%w: %w", ErrUnknown, err)
		}
		if text := err.Error(); text != said && ctx.Err() == nil {
			said = text
			g.Say(text)
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// attest calls Attest, and gives its error as a text. The cluster, where it is not told,
// waits.
func (g Gate) attest(ctx context.Context, holds bool) string {
	if g.Attest == nil {
		return ""
	}
	if err := g.Attest(ctx, holds); err != nil {
		return fmt.Sprintf("the cluster does not know that the gate holds: %v", err)
	}
	return ""
}

// Look returns the reason why nova-compute may not start, empty where it may. An error
// says that neither the records nor Nova could be asked.
func (g Gate) Look(ctx context.Context) (held string, err error) {
	held, err = g.records(ctx)
	if err == nil || g.Nova == nil {
		return held, err
	}
	held, other := g.nova(ctx)
	if other != nil {
		return "", errors.Join(err, other)
	}
	return held, nil
}

func (g Gate) records(ctx context.Context) (string, error) {
	view, err := g.Members.View(ctx)
	if err != nil {
		return "", err
	}
	if !view.Quorum {
		return "", fmt.Errorf("%w: this node's partition has no quorum, its records may be of the past", cib.ErrUnavailable)
	}
	all, err := g.Records.Query(ctx)
	if err != nil {
		return "", err
	}
	names, nodes := []string{g.Host}, slices.Collect(maps.Keys(view.Nodes))
	if g.Node != nil {
		if node := g.Node(ctx); node != "" {
			names = append(names, node)
		}
	}
	node, elsewhere := identity.NodeOf(nodes, names...), true
	var unfinished []cib.Stored
	for _, r := range all {
		if r.Err == nil && !r.Unfinished() {
			continue
		}
		on := identity.NodeOf(nodes, r.NodeName())
		if slices.ContainsFunc(names, identity.Of(r.Record).Fit) || node != "" && on == node {
			return holds(r), nil
		}
		unfinished, elsewhere = append(unfinished, r), elsewhere && on != ""
	}
	if len(unfinished) == 0 {
		return "", nil // there is no record that could be this host's
	}
	// None of them bears a name of this host. That says something only where it is known which
	// host this is.
	if g.Nova != nil {
		if held, known, err := g.sameInNova(ctx, names, unfinished); known || err != nil {
			return held, err
		}
	}
	if node != "" && elsewhere {
		return "", nil // it is one node, and they are others
	}
	return "", fmt.Errorf("neither a record nor the cluster knows %s, and %s is being evacuated, which may be this host: give the gate its name in Nova (host)",
		strings.Join(names, ", "), identity.Hosts(unfinished))
}

// holds says why a record keeps nova-compute from starting.
func holds(r cib.Stored) string {
	if r.Err != nil {
		return r.Err.Error()
	}
	return fmt.Sprintf("%d of %d instances have left %s; %s", r.Done, r.Total, r.Host, waits(r.Record))
}

// sameInNova asks Nova whether one of the records is of this host. known is false where Nova
// does not know this host, or one of theirs.
func (g Gate) sameInNova(ctx context.Context, names []string, records []cib.Stored) (held string, known bool, err error) {
	services, err := g.Nova.Services(ctx)
	if err != nil {
		return "", false, nil // the cluster may know
	}
	cloud := identity.NewCloud(services, "", history.Clock{})
	for _, name := range names {
		m := cloud.Named(name)
		if m.State != identity.One {
			continue
		}
		known = true
		for _, r := range records {
			of := cloud.Of(r.Record)
			switch {
			case slices.Contains(of.Names(), m.Service.Host):
				return holds(r), true, nil
			case of.State != identity.One:
				known = false
			}
		}
	}
	return "", known, nil
}

func waits(r record.Record) string {
	if r.Wait == (record.Wait{}) {
		return "its record is " + string(r.Phase)
	}
	return "waiting for " + r.Wait.String()
}

// fenced answers whether Nova has been told by nova-evac that a host is fenced.
func fenced(service nova.Service) bool { return service.ForcedDown && service.Ours() }

// nova asks Nova. A host that nova-evac has forced down counts as empty when it has no
// instance left that would be evacuated.
func (g Gate) nova(ctx context.Context) (string, error) {
	services, err := g.Nova.Services(ctx)
	if err != nil {
		return "", err
	}
	m := identity.NewCloud(services, "", history.Clock{}).Named(g.Host)
	service := m.Service
	switch {
	case m.State != identity.One && slices.ContainsFunc(services, fenced):
		return "", fmt.Errorf("%w; hosts are fenced in Nova, and this may be one of them: give the gate its name in Nova (host)", m.Err())
	case m.State != identity.One:
		return "", nil // a host that Nova does not know has no instances
	case service.Partial:
		return "", fmt.Errorf("the cell of %s is down, Nova tells nothing of it", service.Host)
	}
	if !fenced(service) {
		return "", nil
	}
	servers, err := g.Nova.Servers(ctx, service.Host)
	if err != nil {
		return "", err
	}
	left := 0
	for _, s := range servers {
		if s.Partial || s.Evacuable() {
			left++
		}
	}
	if left > 0 {
		return fmt.Sprintf("Nova has %d instances on %s that are to leave it", left, service.Host), nil
	}
	return "", nil
}
