// Package cib keeps the records of evacuations: in the configuration section of
// Pacemaker's CIB, reached through cibadmin, or in a locked file on a machine
// without a cluster.
//
// A record is changed only by compare-and-swap on its whole value, and created
// only where there is none, so that two writers never overwrite one another.
// This holds within one partition of the cluster. It does not hold across
// partitions: Pacemaker takes writes without quorum, and at the merge it keeps the
// CIB with the higher epoch. So callers check the quorum before they act.
package cib

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nova-evac/nova-evac/pkg/record"
)

// Records is a store of records. Its methods are named as in ClusterLabs' go-pacemaker
// (query, subscribe), so that a libcib backend could implement it.
type Records interface {
	// Query returns all records, ordered by host.
	Query(ctx context.Context) ([]Stored, error)
	// Create stores a record for a host that has none, or fails with ErrExists.
	Create(ctx context.Context, r record.Record) (Stored, error)
	// Replace puts r in the place of exactly old, or fails with ErrConflict.
	Replace(ctx context.Context, old Stored, r record.Record) (Stored, error)
	// Delete removes exactly old, or fails with ErrConflict where another value stands
	// there. A record that is gone already is no error.
	Delete(ctx context.Context, old Stored) error
	// Subscribe sends all records, at once and after every change, until ctx ends; then
	// the channel is closed. A slow reader gets the newest.
	Subscribe(ctx context.Context) <-chan Update
}

// Stored is a record as it stands in the store.
type Stored struct {
	record.Record
	// Err is not nil where the stored value is not a record; then only Host is set.
	Err error

	raw string
}

// Update is one message of Records.Subscribe.
type Update struct {
	Records []Stored
	Err     error
}

// Errors on which callers decide. Test them with errors.Is.
var (
	// ErrExists: the host has a record already.
	ErrExists = errors.New("the host has a record already")
	// ErrConflict: another value stands in the store than the caller expected; query again.
	ErrConflict = errors.New("the record was changed by somebody else")
	// ErrUnavailable: the store cannot be reached, or did not answer in time. A write
	// that failed with this error may have happened all the same.
	ErrUnavailable = errors.New("cannot reach the records")
)

// Find returns the record of host.
func Find(records []Stored, host string) (Stored, bool) {
	for _, s := range records {
		if s.Host == host {
			return s, true
		}
	}
	return Stored{}, false
}

// tries bounds the compare-and-swap loop of Modify. In each lost round another writer's
// change went through.
const tries = 50

// Modify changes the record of host by compare-and-swap, and retries on a conflict.
// change is given the stored record (found is false where there is none). It returns the
// record to be stored, and false where nothing has to be written. Modify returns the
// record that stands in the store afterwards, and whether it was written.
func Modify(ctx context.Context, store Records, host string, change func(r Stored, found bool) (record.Record, bool)) (Stored, bool, error) {
	for range tries {
		all, err := store.Query(ctx)
		if err != nil {
			return Stored{}, false, err
		}
		old, found := Find(all, host)
		next, write := change(old, found)
		if !write {
			return old, false, nil
		}
		var s Stored
		if found {
			s, err = store.Replace(ctx, old, next)
		} else {
			s, err = store.Create(ctx, next)
		}
		if errors.Is(err, ErrConflict) || errors.Is(err, ErrExists) {
			continue
		}
		return s, err == nil, err
	}
	return Stored{}, false, fmt.Errorf("write the record of host %s: %w, %d times in a row", host, ErrConflict, tries)
}

// NoteFenced records that host is off for sure. Repeated calls for one fencing change
// nothing. A malformed record is replaced, and what can be read of it is kept.
func NoteFenced(ctx context.Context, store Records, host, node string, now time.Time) (Stored, bool, error) {
	return Modify(ctx, store, host, func(s Stored, found bool) (record.Record, bool) {
		switch {
		case !found:
			return record.NewlyFenced(host, node, now), true
		case s.Err != nil:
			return s.FencedUnreadable(node, now), true
		}
		return s.FencedAgain(node, now)
	})
}

// NoteBack records that host was powered on again; without a record it does nothing.
func NoteBack(ctx context.Context, store Records, host string, now time.Time) (Stored, bool, error) {
	return Modify(ctx, store, host, func(s Stored, found bool) (record.Record, bool) {
		if !found || s.Err != nil {
			return s.Record, false
		}
		return s.Seen(record.BackOn, now)
	})
}

func stored(host, value string) Stored {
	r, err := record.Parse(host, value)
	return Stored{Record: r, Err: err, raw: value}
}

func sortByHost(records []Stored) {
	slices.SortFunc(records, func(a, b Stored) int { return strings.Compare(a.Host, b.Host) })
}

// subscribe turns Query into Subscribe: it asks every interval, and passes an answer on
// if it differs from the last one. Neither a file nor cibadmin can be waited on.
func subscribe(ctx context.Context, store Records, interval time.Duration) <-chan Update {
	out := make(chan Update, 1)
	go func() {
		defer close(out)
		tick := time.NewTicker(interval)
		defer tick.Stop()
		last := ""
		for {
			records, err := store.Query(ctx)
			if ctx.Err() != nil {
				return
			}
			if print := fingerprint(records, err); print != last {
				last = print
				select {
				case <-out: // the reader is slow: the newest replaces what it has not read
				default:
				}
				out <- Update{Records: records, Err: err}
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return out
}

func fingerprint(records []Stored, err error) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v\n", err)
	for _, s := range records {
		b.WriteString(s.Host + " " + s.raw + "\n")
	}
	return b.String()
}
