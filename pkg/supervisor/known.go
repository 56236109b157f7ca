package supervisor

import (
	"context"
	"slices"
	"sync"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// knownRecords are the records as they were read last.
type knownRecords struct {
	mu      sync.Mutex
	records []cib.Stored
	// letIn are the records of hosts that were let in, as they were then: the CIB may go back
	// in time and show one again, of a host that is alive.
	letIn      map[string]record.Witness
	reappeared []cib.Stored // those that are shown again
}

// take takes in what the records are now, and which of them are gone because their hosts
// were let in. It returns them without those that are there again after that: see
// deleteReappeared.
func (k *knownRecords) take(records []cib.Stored) []cib.Stored {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.records {
		if _, found := cib.Find(records, r.Host); !found && r.Err == nil && !r.Unfinished() {
			k.letIn[r.Host] = r.Witness()
		}
	}
	k.reappeared, k.records = nil, nil
	for _, r := range records {
		if then, known := k.letIn[r.Host]; known && r.Err == nil && !r.Witness().Later(then) {
			k.reappeared = append(k.reappeared, r)
			continue
		}
		k.records = append(k.records, r)
	}
	return k.records
}

// all are the records as they were read last. The caller does not change them.
func (k *knownRecords) all() []cib.Stored {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.records
}

// again are the records that are there again although their hosts were let in.
func (k *knownRecords) again() []cib.Stored {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.reappeared
}

// notLetIn takes it back that a host was let in.
func (k *knownRecords) notLetIn(host string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.letIn, host)
}

// deleteReappeared deletes the records that are there again although their hosts were let
// in: the CIB went back in time. Where Nova still says that the host is fenced, it was not
// let in.
func (s *Supervisor) deleteReappeared(ctx context.Context) error {
	again := s.known.again()
	if len(again) == 0 {
		return nil
	}
	services, err := s.Nova.Services(ctx)
	if err != nil {
		return err
	}
	for _, r := range again {
		forced := slices.ContainsFunc(toldOf(s.cloud(services), r.Record), func(service nova.Service) bool { return service.ForcedDown })
		if forced {
			s.known.notLetIn(r.Host)
			continue
		}
		s.Log.WithField("host", r.Host).Warn("its record is there again although it was let in: deleted")
		if err := s.Records.Delete(ctx, r); err != nil {
			return err
		}
	}
	return nil
}
