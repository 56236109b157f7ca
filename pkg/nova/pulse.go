package nova

import "time"

const (
	// BeatLife is for how long a heartbeat counts. Nova's report_interval is 10 seconds.
	BeatLife = time.Minute
	// twoBeats is how far heartbeats have to have come.
	twoBeats = 15 * time.Second
)

// Beat is what the heartbeats of a nova-compute say of it.
type Beat int

const (
	// Silent: no sign of life.
	Silent Beat = iota
	// Moved: updated_at has moved within the last minute. That is a heartbeat, or a request
	// that changed the service and whose change does not show.
	Moved
	// Alive: its heartbeats go on.
	Alive
)

// Pulse feels whether nova-computes are alive although Nova, to which they are forced
// down, does not say so: their heartbeats go on. Its keys are the hosts.
type Pulse map[string]beat

// beat is what was seen of a nova-compute's heartbeat since a fencing of its host.
type beat struct {
	fencing         time.Time
	first, lastSeen time.Time
	last            Service
	changes         int
}

// Feel takes a look at a service, and tells what its heartbeats say. Who asks every few
// seconds knows after half a minute whether it is alive. A request that changes a service
// moves its updated_at as a heartbeat does, so that one change alone says nothing; one that
// changes what the service shows is no sign of life at all.
func (p Pulse) Feel(service Service, fencing, now time.Time) Beat {
	b, known := p[service.Host]
	if !known || !b.fencing.Equal(fencing) || now.Sub(b.lastSeen) > BeatLife {
		b = beat{fencing: fencing, first: service.Updated, last: service, lastSeen: now}
	}
	switch {
	case service.Updated.Equal(b.last.Updated):
	case told(service, b.last):
		b.last = service
	default:
		b.last, b.lastSeen = service, now
		if b.changes++; b.changes == 1 {
			b.first = service.Updated // what was before may be as old as the fencing
		}
	}
	p[service.Host] = b
	switch {
	case b.changes > 2 && b.last.Updated.Sub(b.first) >= twoBeats:
		return Alive
	case b.changes > 0:
		return Moved
	}
	return Silent
}

// told answers whether a service was changed by a request between two looks.
func told(a, b Service) bool {
	return a.ForcedDown != b.ForcedDown || a.Enabled != b.Enabled || a.DisabledReason != b.DisabledReason
}
