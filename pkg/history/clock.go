package history

import (
	"time"

	"github.com/nova-evac/nova-evac/pkg/record"
)

// Time is a moment by Nova's clock. All stamps that Nova shows are such moments. A moment by
// a controller's clock becomes one by a Clock, at the door of this package and nowhere else,
// so that no two clocks are ever compared. The zero Time is no moment.
type Time struct{ at time.Time }

// Stamp is a moment that Nova has stamped itself.
func Stamp(t time.Time) Time { return Time{t} }

// IsZero answers whether t is no moment.
func (t Time) IsZero() bool { return t.at.IsZero() }

// Before answers whether t is before u.
func (t Time) Before(u Time) bool { return t.at.Before(u.at) }

// After answers whether t is after u.
func (t Time) After(u Time) bool { return t.at.After(u.at) }

// Sub is how long u was before t.
func (t Time) Sub(u Time) time.Duration { return t.at.Sub(u.at) }

// Add is the moment d after t.
func (t Time) Add(d time.Duration) Time { return Time{t.at.Add(d)} }

// String is the moment as Nova shows it.
func (t Time) String() string { return t.at.UTC().Format(time.RFC3339) }

// Clock leads from the controllers' clocks to Nova's. The controllers' clocks are taken for
// one: the nodes of a cluster keep theirs together.
type Clock struct {
	// Ahead is how far Nova's clock is ahead of the controllers', negative where it is behind.
	Ahead time.Duration
}

// Time is a controller's moment by Nova's clock.
func (c Clock) Time(ours time.Time) Time { return Time{ours.Add(c.Ahead)} }

// Fencing is the moment from which a host was off for sure, by Nova's clock.
type Fencing struct{ at Time }

// Fenced is the fencing that a controller has recorded.
func (c Clock) Fenced(ours time.Time) Fencing { return Fencing{c.Time(ours)} }

// fencedBy is the fencing that a service's disabled_reason tells of, if the reason is
// nova-evac's. A controller's clock has stamped it.
func (c Clock) fencedBy(disabledReason string) (Fencing, bool) {
	told, ours := record.ParseReason(disabledReason)
	return c.Fenced(told.Since), ours && !told.Since.IsZero()
}

// Begins is the earliest stamp that a record made after the fencing can bear.
func (f Fencing) Begins() Time { return f.at.Add(-clockMargin) }

// Over answers whether a moment is later than the fencing for sure.
func (f Fencing) Over(t Time) bool { return f.OverBy(0, t) }

// OverBy answers whether a moment is later than the fencing by more than d for sure.
func (f Fencing) OverBy(d time.Duration, t Time) bool { return t.After(f.at.Add(d + clockMargin)) }

// Records is from when on, by Nova's clock, the evacuation records of a host are asked for:
// those from before the fencing may still be under way.
func (f Fencing) Records() time.Time { return f.at.Add(-longestRebuild).at }
