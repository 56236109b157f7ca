package cib

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nova-evac/nova-evac/pkg/record"
)

// Memory keeps records in this process, for simulations and tests. Like a real CIB after
// the merge of two partitions, it can lose writes and go back in time.
type Memory struct {
	// Interval is how often Subscribe looks; 0 means a quarter of a second.
	Interval time.Duration

	mu     sync.Mutex
	values map[string]string
	writes int
}

// Query returns all records.
func (m *Memory) Query(ctx context.Context) ([]Stored, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var records []Stored
	for _, host := range slices.Sorted(maps.Keys(m.values)) {
		records = append(records, stored(host, m.values[host]))
	}
	return records, nil
}

// Create keeps a record for a host that has none.
func (m *Memory) Create(ctx context.Context, r record.Record) (Stored, error) {
	if err := record.CheckHost(r.Host); err != nil {
		return Stored{}, err
	}
	return m.write(ctx, r.Host, r, func(_ string, found bool) error {
		if found {
			return fmt.Errorf("create the record of host %s: %w", r.Host, ErrExists)
		}
		return nil
	})
}

// Replace puts r in the place of old.
func (m *Memory) Replace(ctx context.Context, old Stored, r record.Record) (Stored, error) {
	return m.write(ctx, old.Host, r, func(value string, found bool) error {
		if !found || value != old.raw {
			return fmt.Errorf("write the record of host %s: %w", old.Host, ErrConflict)
		}
		return nil
	})
}

// Delete takes old away.
func (m *Memory) Delete(ctx context.Context, old Stored) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if value, found := m.values[old.Host]; found && value != old.raw {
		return fmt.Errorf("delete the record of host %s: %w", old.Host, ErrConflict)
	}
	delete(m.values, old.Host)
	m.writes++
	return nil
}

func (m *Memory) write(ctx context.Context, host string, r record.Record, allowed func(value string, found bool) error) (Stored, error) {
	if err := ctx.Err(); err != nil {
		return Stored{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	value, found := m.values[host]
	if err := allowed(value, found); err != nil {
		return Stored{}, err
	}
	if m.values == nil {
		m.values = map[string]string{}
	}
	m.values[host] = r.Encode()
	m.writes++
	return stored(host, m.values[host]), nil
}

// Subscribe asks every Interval.
func (m *Memory) Subscribe(ctx context.Context) <-chan Update {
	return subscribe(ctx, m, cmp.Or(m.Interval, defaultInterval))
}

// Writes is how many writes went through so far.
func (m *Memory) Writes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.writes
}

// Copy is all that is kept, for Restore.
func (m *Memory) Copy() map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.values)
}

// Restore puts the store back to a copy: the CIB has gone back in time. nil empties it.
func (m *Memory) Restore(values map[string]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values = maps.Clone(values)
}
