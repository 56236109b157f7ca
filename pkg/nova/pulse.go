package nova

import "time"

const (
	// beatLife is for how long a heartbeat counts. Nova's report_interval is 10 seconds.
	beatLife = time.Minute
	// twoBeats is how far heartbeats have to have come.
	twoBeats = 15 * time.Second
)

// Pulse feels whether nova-computes are alive although Nova, to which they are forced
// down, does not say so: their heartbeats go on. Its keys are the hosts.
type Pulse map[string]beat

// beat is what was seen of a nova-compute's heartbeat since a fencing of its host.
type beat struct {
	fencing               time.Time
	first, last, lastSeen time.Time
	changes               int
}

// Feel takes a look at a service, and answers whether its nova-compute is alive. Who
// asks every few seconds knows after half a minute. A request that changes a service moves
// its updated_at as a heartbeat does, so that one change alone says nothing.
func (p Pulse) Feel(service Service, fencing, now time.Time) bool {
	b, known := p[service.Host]
	if !known || !b.fencing.Equal(fencing) || now.Sub(b.lastSeen) > beatLife {
		b = beat{fencing: fencing, first: service.Updated, last: service.Updated, lastSeen: now}
	}
	if !service.Updated.Equal(b.last) {
		b.last, b.lastSeen = service.Updated, now
		if b.changes++; b.changes == 1 {
			b.first = service.Updated // what was before may be as old as the fencing
		}
	}
	p[service.Host] = b
	return b.changes > 2 && b.last.Sub(b.first) >= twoBeats
}
