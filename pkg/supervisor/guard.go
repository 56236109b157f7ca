package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/evacuate"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/ownership"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// Guard bounds how much may be down at once for a new evacuation to begin: when half of
// a cloud is gone, it is a switch that is broken, and not its hosts.
type Guard struct {
	// Share is in percent of the compute hosts; 0 and 100 are no bound.
	Share int
	// Hosts is a number of compute hosts; 0 is no bound.
	Hosts int
}

// settleTime is how old a fencing has to be for the guard to judge: of hosts that die at
// once Pacemaker notices one up to the interval of a monitor before the other.
const settleTime = 3 * time.Second

func (g Guard) bounded() bool { return g.Share > 0 && g.Share < 100 || g.Hosts > 0 }

// storm says why no new evacuation may begin, and nothing where one may. Hosts that an
// operator has disabled do not count. Down is who does not answer Nova, who was fenced and
// is not back, and who is not online in the cluster: when many hosts die at once the
// cluster knows it long before Nova does. awake are the hosts whose nova-compute was seen
// alive although Nova was told that they are down.
func (g Guard) storm(services []nova.Service, records []cib.Stored, view cluster.View, awake map[string]bool, domain string) string {
	if view.Maintenance {
		return "the cluster to leave its maintenance mode"
	}
	// A remote node that is off is shown as online while the cluster tries to connect to it.
	off := map[string]bool{}
	for _, r := range records {
		off[r.NodeName()] = r.Err == nil && r.Back == record.NotBack && view.Nodes[r.NodeName()].Remote
	}
	down, on := map[string]bool{}, maps.Clone(awake)
	if on == nil {
		on = map[string]bool{}
	}
	for name, n := range view.Nodes {
		s, err := nova.FindService(services, name, domain)
		if err != nil {
			continue // no compute host
		}
		on[s.Host] = n.Online && !n.Unclean && !off[name]
		down[s.Host] = !on[s.Host]
	}
	for _, r := range records {
		if s, err := nova.FindService(services, r.Host, domain); err == nil && r.Err == nil && r.Unfinished() {
			down[s.Host] = !on[s.Host]
		}
	}
	n, all := 0, 0
	for _, s := range services {
		if !s.Enabled && !s.Ours() {
			continue
		}
		all++
		silent := !s.Up && !s.Partial && !(s.ForcedDown && s.Ours() && on[s.Host])
		if down[s.Host] || silent {
			n++
		}
	}
	switch {
	case g.Share > 0 && g.Share < 100 && n*100 > g.Share*all:
		return fmt.Sprintf("hosts to come back: %d of %d compute hosts are down, more than storm_share=%d%% of them", n, all, g.Share)
	case g.Hosts > 0 && n > g.Hosts:
		return fmt.Sprintf("hosts to come back: %d of %d compute hosts are down, more than storm_hosts=%d", n, all, g.Hosts)
	}
	return ""
}

// judge says why no new evacuation may begin, and nothing where one may. awake is for storm.
func (s *Supervisor) judge(ctx context.Context, services []nova.Service, records []cib.Stored, view cluster.View, awake map[string]bool) (string, error) {
	if why := s.Guard.storm(services, records, view, awake, s.Domain); why != "" {
		return why, nil
	}
	missing, err := s.Nova.Missing(ctx)
	if err != nil || len(missing) == 0 {
		return "", err
	}
	return fmt.Sprintf("a live %s in Nova", strings.Join(missing, " and ")), nil
}

// judgeNow asks for all that the guard looks at.
func (s *Supervisor) judgeNow(ctx context.Context) (string, error) {
	services, err := s.Nova.Services(ctx)
	if err != nil {
		return "", err
	}
	view, err := s.Members.View(ctx)
	if err != nil {
		return "", err
	}
	records, err := s.Records.Query(ctx)
	if err != nil {
		return "", err
	}
	return s.judge(ctx, services, records, view, nil)
}

// passes asks the guard before a new evacuation begins, until Nova has answered. Where
// the guard says no, the record is held and the claim given back.
func (e *evacuation) passes() bool {
	pause := time.NewTicker(time.Second)
	defer pause.Stop()
	fenced := e.stored().Since
	for {
		if left := settleTime - e.s.Now().Sub(fenced); e.s.Guard.bounded() && left > 0 {
			select {
			case <-e.ctx.Done():
			case <-time.After(left):
			}
		}
		why, err := e.s.judgeNow(e.ctx)
		switch {
		case e.ctx.Err() != nil:
			return true // what comes next notices, and says so
		case err == nil && why == "":
			return true
		case err == nil:
			why += heldHint(e.host)
			err = e.update(ownership.SameGeneration, func(r record.Record) record.Record {
				r = r.Held(record.HeldByGuard, why, e.s.Now())
				r.Owner, r.Phase = "", record.Fenced
				return r
			})
			if err == nil || errors.Is(err, errLost) {
				e.log.Warnf("held; waiting for %s", why)
				return false
			}
		}
		e.report(evacuate.Progress{Wait: err.Error()})
		select {
		case <-e.ctx.Done():
		case <-pause.C:
		}
	}
}

func heldHint(host string) string {
	return "; 'nova-evac resume " + host + "' has it evacuated all the same"
}

// judgeAgain lets the records go on that the guard holds, once it has passed.
func (s *Supervisor) judgeAgain(ctx context.Context, records []cib.Stored, services []nova.Service, look *watch, view cluster.View) error {
	awake := map[string]bool{}
	for _, r := range records {
		if service, err := nova.FindService(services, r.Host, s.Domain); err == nil && look.beats.Feel(service, r.Since, s.Now()) == nova.Alive {
			awake[service.Host] = true
		}
	}
	why, err := s.judge(ctx, services, s.known.all(), view, awake)
	if err != nil {
		return err
	}
	for _, r := range records {
		if !r.Unfinished() {
			continue
		}
		next := r.Held(record.HeldByGuard, why+heldHint(r.Host), s.Now())
		switch {
		case why == "" && r.Back != record.NotBack:
			// Its instances may run there: what is done about it is an operator's to say.
			next = r.Held(record.HeldBySource, "a supervisor to claim it", s.Now())
		case why == "":
			next = r.Held("", "a supervisor to claim it", s.Now())
		}
		if next.Wait == r.Wait || !look.ours(r.Host, next.Wait, s.Now()) {
			continue
		}
		if why == "" {
			s.Log.WithField("host", r.Host).Info("no longer held")
		}
		if err := s.change(ctx, r, next); err != nil {
			return err
		}
	}
	return nil
}
