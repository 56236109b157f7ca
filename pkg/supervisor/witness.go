package supervisor

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/history"
	"github.com/nova-evac/nova-evac/pkg/identity"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/ownership"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// witnessEvery is the pause between two comparisons of the records with Nova's
// service records. Records are lost so rarely that a minute is soon enough, and a
// list of services every half minute is nothing to Nova.
const witnessEvery = 30 * time.Second

// watchWitnesses puts records back that the CIB has lost, and of which no owner lives
// that could do it: Nova's service records of the hosts still name them.
func (s *Supervisor) watchWitnesses(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	last, history := "", s.Fencings
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if history != nil && s.compareHistory(ctx, history) == nil {
			history = nil // once, at the start
		}
		text := ""
		if err := s.compareWitnesses(ctx); err != nil && ctx.Err() == nil {
			text = err.Error()
			if text != last {
				s.Log.Warnf("compare the records with Nova: %v", err)
			}
		}
		last = text
		timer.Reset(witnessEvery)
	}
}

// missedSince is how far back the fencing history is of interest.
const missedSince = time.Hour

// compareHistory names the hosts that were fenced, are silent since, and have no record:
// the hook was not called, or what it wrote was lost before Nova was told. They are not
// evacuated unasked: a host whose fencing level lacks the hook is one that its operator
// does not want evacuated.
func (s *Supervisor) compareHistory(ctx context.Context, ask func(context.Context) ([]cluster.Fencing, error)) error {
	fencings, err := ask(ctx)
	if err != nil {
		return err
	}
	services, err := s.Nova.Services(ctx)
	if err != nil {
		return err
	}
	all, err := s.Records.Query(ctx)
	if err != nil {
		return err
	}
	cloud := s.cloud(services)
	of := recordsOf(all, cloud)
	for _, f := range fencings {
		m := cloud.Named(f.Target)
		service := m.Service
		_, recorded := of[service.Host]
		switch {
		case m.State != identity.One, recorded, len(identity.Recorded(all, f.Target)) > 0, s.Now().Sub(f.Completed) > missedSince:
		case cloud.Clock.Fenced(f.Completed).Over(history.Stamp(service.Updated)): // it is back, or an operator has taken it in hand
		default:
			s.Log.WithField("host", service.Host).Warnf("it was fenced at %s, is silent since, and has no record: 'nova-evac host %s' evacuates it",
				f.Completed.UTC().Format(time.RFC3339), service.Host)
		}
	}
	return nil
}

// compareWitnesses looks once. Nova comes first: the hook writes the record before it
// tells Nova, so that there is a record of all that Nova knows.
func (s *Supervisor) compareWitnesses(ctx context.Context) error {
	services, err := s.Nova.Services(ctx)
	if err != nil {
		return err
	}
	witnesses := witnessesOf(services)
	if len(witnesses) == 0 {
		return nil
	}
	all, err := s.Records.Query(ctx)
	if err != nil {
		return err
	}
	of := recordsOf(all, s.cloud(services))
	if err := s.restoreNodes(ctx, witnesses, of); err != nil {
		return err
	}
	for _, lost := range s.lostRecords(services, witnesses, of) {
		view, err := s.Members.View(ctx)
		if err != nil || !view.Quorum {
			return err
		}
		if !ownWitness(lost.witness, lost.host, slices.Collect(maps.Keys(view.Nodes))) {
			s.noteForeign(lost)
			continue
		}
		err = s.writeAgain(ctx, lost, view)
		switch {
		case errors.Is(err, cib.ErrExists), errors.Is(err, cib.ErrConflict), errors.Is(err, errLetIn):
			continue // somebody else was quicker
		case err != nil:
			return err
		}
		s.Log.WithField("host", lost.host).Warnf("the record of generation %d was lost, and was written again from what Nova knows", lost.witness.Gen)
	}
	return nil
}

// ownWitness answers whether a witness is of this cluster: the host is one of its nodes, or the
// owner that has claimed the host is on one. Several clusters may stand under one Nova, and
// what another one carries is not lost because it is not recorded here.
func ownWitness(w record.Witness, host string, nodes []string) bool {
	owner, _, _ := strings.Cut(w.Claim, "/")
	carrier, _ := record.OwnerNode(owner)
	return slices.Contains(nodes, carrier) || w.Node != "" && slices.Contains(nodes, w.Node) || identity.NodeOf(nodes, host) != ""
}

// noteForeign says once of a host that no record is written for it again.
func (s *Supervisor) noteForeign(lost lostRecord) {
	if s.foreign[lost.host] == lost.witness {
		return
	}
	s.foreign[lost.host] = lost.witness
	s.Log.WithField("host", lost.host).Warnf("a nova-evac of another cluster has it forced down (%s): left to that; if there is none, 'nova-evac host %s' evacuates it",
		lost.witness.Reason(), lost.host)
}

// restoreNodes puts the cluster's names of hosts back into records that have lost nothing else.
func (s *Supervisor) restoreNodes(ctx context.Context, witnesses map[string]record.Witness, of map[string]cib.Stored) error {
	for host, r := range of {
		told := witnesses[host]
		if r.Err != nil || r.Node != "" || told.Node == "" || told.Node == r.Host || !told.Since.Equal(r.Since) {
			continue
		}
		if view, err := s.Members.View(ctx); err != nil || !view.Quorum {
			return err
		}
		next := r.Record
		next.Node, next.Updated = told.Node, s.Now()
		if err := s.change(ctx, r, next); err != nil {
			return err
		}
	}
	return nil
}

// witnessesOf are the witnesses of hosts that Nova has for fenced, by Nova's names.
func witnessesOf(services []nova.Service) map[string]record.Witness {
	witnesses := map[string]record.Witness{}
	for _, service := range services {
		if found, ours := record.ParseReason(service.DisabledReason); ours && service.ForcedDown && found.Gen > 0 {
			witnesses[service.Host] = found
		}
	}
	return witnesses
}

// lostRecord is a record of which Nova knows better than the store.
type lostRecord struct {
	host    string // Nova's name
	witness record.Witness
	stored  cib.Stored // where there is one
	verdict ownership.Verdict
}

// lostRecords finds the records that are gone, or went back in time.
func (s *Supervisor) lostRecords(services []nova.Service, witnesses map[string]record.Witness, of map[string]cib.Stored) []lostRecord {
	var lost []lostRecord
	for _, service := range services {
		witness, fenced := witnesses[service.Host]
		if !fenced {
			continue
		}
		r, recorded := of[service.Host]
		if verdict := ownership.Reconcile(s.mine(), asStored(r, recorded), &witness, nil); verdict.Action != ownership.Keep {
			lost = append(lost, lostRecord{service.Host, witness, r, verdict})
		}
	}
	return lost
}

// writeAgain writes a lost record again.
func (s *Supervisor) writeAgain(ctx context.Context, lost lostRecord, view cluster.View) error {
	if lost.verdict.Action == ownership.Correct {
		_, err := s.Records.Replace(ctx, lost.stored, lost.stored.Corrected(lost.witness, lost.verdict.Doubt, s.Now()))
		return err
	}
	if err := s.stillFenced(ctx, lost.host, lost.witness); err != nil {
		return err
	}
	r := record.Recovered(lost.host, lost.witness, s.Now())
	if r.Node == "" { // the record's name was the node's; Nova's may be a full one
		r.Node = identity.NodeOf(slices.Collect(maps.Keys(view.Nodes)), lost.host)
	}
	_, err := s.Records.Create(ctx, r)
	return err
}

// errLetIn: the service is not any more as it was read.
var errLetIn = errors.New("the host was let in meanwhile")

// stillFenced asks Nova once more: a host that was let in between the look at Nova and
// the one at the records has no record, and rightly so.
func (s *Supervisor) stillFenced(ctx context.Context, host string, found record.Witness) error {
	services, err := s.Nova.Services(ctx)
	if err != nil {
		return err
	}
	m := s.cloud(services).Named(host)
	if m.State != identity.One {
		return m.Err()
	}
	service := m.Service
	if again, ours := record.ParseReason(service.DisabledReason); !ours || !service.ForcedDown || again != found {
		return errLetIn
	}
	return nil
}

// recordsOf finds the records of Nova's hosts, by Nova's names: of one that is recorded under
// two names, the one that is carried.
func recordsOf(all []cib.Stored, cloud identity.Cloud) map[string]cib.Stored {
	of := map[string]cib.Stored{}
	for host, records := range cloud.ByHost(all) {
		of[host] = records[0]
	}
	return of
}
