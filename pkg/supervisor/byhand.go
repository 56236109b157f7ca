package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cib"
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/evacuate"
	"github.com/nova-evac/nova-evac/pkg/history"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// HostUpError is what ByHand refuses a host with whose nova-compute is up.
type HostUpError struct {
	Host    string
	Updated time.Time
}

// Error says what is wrong and what to do.
func (e *HostUpError) Error() string {
	return fmt.Sprintf("host %s: its nova-compute is up (last seen %s): its instances run; 'nova-evac host --fence %s' has it fenced first",
		e.Host, e.Updated.UTC().Format(time.RFC3339), e.Host)
}

// NotFencedError is what ByHand refuses a host with that is silent, and of which nobody
// says that it is off: it may be cut off, with its instances running.
type NotFencedError struct {
	Host    string
	Updated time.Time
	// Asked is why the fencing history is no help, nil where it says nothing of the host.
	Asked error
}

// Error says what is wrong and what to do.
func (e *NotFencedError) Error() string {
	why := "the cluster's fencing history does not say that it was fenced since"
	if e.Asked != nil {
		why = e.Asked.Error()
	}
	return fmt.Sprintf("host %s: it is silent since %s, and nothing proves that it is off: %s; its instances may run, and would run twice. "+
		"'nova-evac host --fence %s' has it fenced first; if you have switched it off yourself, say so with --i-have-powered-it-off",
		e.Host, e.Updated.UTC().Format(time.RFC3339), why, e.Host)
}

// ByHand records that an operator wants a host evacuated.
type ByHand struct {
	Nova    evacuate.Nova
	Records cib.Records
	Domain  string
	Now     func() time.Time
	// Fencings is the cluster's fencing history; nil where there is no cluster.
	Fencings func(ctx context.Context) ([]cluster.Fencing, error)
	// PoweredOff is the operator's word that the host is off.
	PoweredOff bool
}

// Record writes the host's record. It refuses a host that Nova does not know, and one of
// which nothing proves that it is off: a record of it, the forced_down that somebody set in
// Nova, a fencing since its last heartbeat, or the operator's word. A host whose evacuation
// is under way already goes on as it is.
func (b ByHand) Record(ctx context.Context, host string) (cib.Stored, error) {
	old, recorded, service, err := lookUp(ctx, b.Nova, b.Records, host, b.Domain)
	if err != nil {
		return cib.Stored{}, err
	}
	name := service.Host
	if recorded { // maybe under another name that the fence device gave it
		name = old.Host
	}
	if !recorded || old.Err != nil || !old.Unfinished() {
		if err := b.proof(ctx, host, old, recorded, service); err != nil {
			return cib.Stored{}, err
		}
	}
	s, _, err := cib.Modify(ctx, b.Records, name, func(r cib.Stored, found bool) (record.Record, bool) {
		switch {
		case !found || r.Err != nil:
			return record.NewlyFenced(name, "", b.Now()), true
		case r.Unfinished():
			return r.Record, false
		}
		return r.NextGeneration(cmp.Or(r.Node, name), b.Now()), true
	})
	return s, err
}

// lookUp finds a host's nova-compute, and its record, if it has one: under the name that
// is given, or under Nova's.
func lookUp(ctx context.Context, n evacuate.Nova, records cib.Records, host, domain string) (r cib.Stored, recorded bool, service nova.Service, err error) {
	services, err := n.Services(ctx)
	if err != nil {
		return r, false, service, err
	}
	if service, err = nova.FindService(services, host, domain); err != nil {
		return r, false, service, err
	}
	all, err := records.Query(ctx)
	if err != nil {
		return r, false, service, err
	}
	if r, recorded = cib.Find(all, host); !recorded {
		r, recorded = cib.Find(all, service.Host)
	}
	return r, recorded, service, nil
}

// proof fails where nothing says that a host is off.
func (b ByHand) proof(ctx context.Context, host string, old cib.Stored, recorded bool, service nova.Service) error {
	if b.PoweredOff || service.ForcedDown {
		return nil
	}
	var asked error
	if b.Fencings == nil {
		asked = errors.New("there is no cluster to ask")
	} else {
		var fencings []cluster.Fencing
		fencings, asked = b.Fencings(ctx)
		// Nova writes its heartbeats every ten seconds, by a clock of its own.
		clock, heard := history.Clock{Ahead: b.Nova.Skew()}, history.Stamp(service.Updated)
		short, _, _ := strings.Cut(service.Host, ".")
		for _, f := range fencings {
			target := f.Target == host || f.Target == service.Host || f.Target == short || recorded && old.Err == nil && f.Target == old.NodeName()
			if target && !clock.Fenced(f.Completed).Over(heard) {
				return nil
			}
		}
	}
	if service.Up {
		return &HostUpError{service.Host, service.Updated}
	}
	return &NotFencedError{service.Host, service.Updated, asked}
}
