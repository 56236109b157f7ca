// Package heartbeat tells whether a nova-compute is alive that Nova was told is down. While
// a host is forced down, Nova shows its nova-compute as down whatever it does; but the
// updated_at of its service moves with every heartbeat.
package heartbeat

import (
	"time"

	"github.com/nova-evac/nova-evac/pkg/nova"
)

const (
	// Life is for how long a sign of life counts of which the interval is not known. Nova's
	// report_interval is 10 seconds by default.
	Life = time.Minute
	// longest is the longest report_interval that is understood. Big clouds have a minute.
	longest = 5 * time.Minute
	// span is the least time between the first and the last of several heartbeats.
	span = 15 * time.Second
)

// Sign is what the heartbeats of a nova-compute say of it.
type Sign int

const (
	// Silent: no sign of life.
	Silent Sign = iota
	// Moved: updated_at has moved within the last minute. That is a heartbeat, or a request
	// that changed the service and whose change does not show.
	Moved
	// Alive: its heartbeats go on.
	Alive
)

// Watch remembers what was seen of the heartbeats of hosts. Its keys are the hosts.
type Watch map[string]seen

// seen is what was seen of a nova-compute's heartbeats since a fencing of its host.
type seen struct {
	fencing         time.Time
	first, lastSeen time.Time
	last            nova.Service
	changes         int
	interval        time.Duration // between the last two
}

// Look takes in how Nova shows a service now, and tells what its heartbeats say. With a look
// every few seconds it is known after half a minute whether the service is alive. A request that changes a service
// moves its updated_at as a heartbeat does, so that one change alone says nothing; one that
// changes what the service shows is no sign of life at all.
func (w Watch) Look(service nova.Service, fencing, now time.Time) Sign {
	b, known := w[service.Host]
	if !known || !b.fencing.Equal(fencing) || now.Sub(b.lastSeen) > 2*longest {
		b = seen{fencing: fencing, first: service.Updated, last: service, lastSeen: now}
	}
	switch {
	case service.Updated.Equal(b.last.Updated):
	case told(service, b.last):
		b.last = service
	default:
		b.interval = service.Updated.Sub(b.last.Updated)
		b.last, b.lastSeen = service, now
		if b.changes++; b.changes == 1 {
			b.first = service.Updated // what was before may be as old as the fencing
		}
	}
	w[service.Host] = b
	silent := now.Sub(b.lastSeen)
	switch {
	case b.changes > 2 && b.last.Updated.Sub(b.first) >= span && silent <= max(Life, 2*min(b.interval, longest)):
		return Alive
	case b.changes > 0 && silent <= Life:
		return Moved
	}
	return Silent
}

// told answers whether a service was changed by a request between two looks.
func told(a, b nova.Service) bool {
	return a.ForcedDown != b.ForcedDown || a.Enabled != b.Enabled || a.DisabledReason != b.DisabledReason
}
