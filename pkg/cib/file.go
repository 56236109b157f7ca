package cib

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nova-evac/nova-evac/pkg/record"
)

// File keeps records in a plain file, one line per host: its name, then the
// record's value. Writers take a lock on a second file beside it.
type File struct {
	Path string
	// Interval is how often Subscribe looks; 0 means a quarter of a second.
	Interval time.Duration
}

// Query reads the file; one that does not exist holds no record.
func (f File) Query(context.Context) ([]Stored, error) {
	data, err := os.ReadFile(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	var records []Stored
	for line := range strings.Lines(string(data)) {
		host, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if host != "" && !strings.HasPrefix(host, "#") {
			records = append(records, stored(host, value))
		}
	}
	sortByHost(records)
	return records, nil
}

// Create adds a line.
func (f File) Create(ctx context.Context, r record.Record) (Stored, error) {
	if err := record.CheckHost(r.Host); err != nil {
		return Stored{}, err
	}
	added := stored(r.Host, r.Encode())
	err := f.update(ctx, func(records []Stored) ([]Stored, error) {
		if _, found := Find(records, r.Host); found {
			return nil, fmt.Errorf("create the record of host %s: %w", r.Host, ErrExists)
		}
		return append(records, added), nil
	})
	return added, err
}

// Replace changes a line.
func (f File) Replace(ctx context.Context, old Stored, r record.Record) (Stored, error) {
	changed := stored(old.Host, r.Encode())
	err := f.update(ctx, func(records []Stored) ([]Stored, error) {
		for i := range records {
			if records[i].Host == old.Host && records[i].raw == old.raw {
				records[i] = changed
				return records, nil
			}
		}
		return nil, fmt.Errorf("write the record of host %s: %w", old.Host, ErrConflict)
	})
	return changed, err
}

// Delete takes a line away.
func (f File) Delete(ctx context.Context, old Stored) error {
	return f.update(ctx, func(records []Stored) ([]Stored, error) {
		if s, found := Find(records, old.Host); found && s.raw != old.raw {
			return nil, fmt.Errorf("delete the record of host %s: %w", old.Host, ErrConflict)
		}
		return slices.DeleteFunc(records, func(s Stored) bool { return s.Host == old.Host }), nil
	})
}

// defaultInterval is how often a store in this machine is looked at.
const defaultInterval = 250 * time.Millisecond

// Subscribe asks every Interval.
func (f File) Subscribe(ctx context.Context) <-chan Update {
	return subscribe(ctx, f, cmp.Or(f.Interval, defaultInterval))
}

// update rewrites the file under the lock, so that a reader sees the old or the
// new content and a crash leaves one of them.
func (f File) update(ctx context.Context, change func([]Stored) ([]Stored, error)) error {
	unlock, err := f.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	records, err := f.Query(ctx)
	if err != nil {
		return err
	}
	records, err = change(records)
	if err != nil {
		return err
	}
	sortByHost(records)
	var b strings.Builder
	for _, s := range records {
		b.WriteString(s.Host + " " + s.raw + "\n")
	}
	if err := replaceFile(f.Path, b.String()); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

func replaceFile(path, content string) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	if _, err = tmp.WriteString(content); err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// lockWait bounds the wait for the lock, which is held for the time of one write.
const lockWait = 5 * time.Second

func (f File) lock(ctx context.Context) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	lock, err := os.OpenFile(f.Path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	for {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { lock.Close() }, nil
		}
		select {
		case <-ctx.Done():
			lock.Close()
			return nil, fmt.Errorf("%w: %s stays locked by another process", ErrUnavailable, lock.Name())
		case <-time.After(5 * time.Millisecond):
		}
	}
}
