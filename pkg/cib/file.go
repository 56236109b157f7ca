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
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nova-evac/nova-evac/pkg/record"
)

// File keeps records in a plain file, one line per host: its name, then the
// record's value. Writers take a lock on a second file beside it. Where Path is a symbolic
// link, the file that it leads to is meant, so that each file has one lock.
type File struct {
	Path string
	// Interval is how often Subscribe looks; 0 means a quarter of a second.
	Interval time.Duration
}

// Resolve gives the path without symbolic links. It refuses what is there and is no regular
// file: to replace a device by a file would be the end of it.
func (f File) Resolve() (string, error) {
	path, _, err := f.find()
	return path, err
}

// find resolves the path, and describes the file; nil where there is none yet.
func (f File) find() (path string, info fs.FileInfo, err error) {
	// Lstat comes first: another process may make the file between two looks, and what is
	// there once stays.
	if _, err = os.Lstat(f.Path); errors.Is(err, fs.ErrNotExist) {
		path, err = filepath.EvalSymlinks(filepath.Dir(f.Path))
		path = filepath.Join(path, filepath.Base(f.Path))
	} else if path, err = filepath.EvalSymlinks(f.Path); err == nil {
		info, err = os.Stat(path)
	}
	switch {
	case err != nil:
		return "", nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	case info != nil && !info.Mode().IsRegular():
		return "", nil, fmt.Errorf("%w: %s is no regular file; name a file, or a path where there is none", ErrUnavailable, f.Path)
	}
	return path, info, nil
}

// Query reads the file; one that does not exist holds no record.
func (f File) Query(context.Context) ([]Stored, error) {
	path, _, err := f.find()
	if err != nil {
		return nil, err
	}
	return read(path)
}

func read(path string) ([]Stored, error) {
	data, err := os.ReadFile(path)
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
	path, info, err := f.find()
	if err != nil {
		return err
	}
	unlock, err := lock(ctx, path, info)
	if err != nil {
		return err
	}
	defer unlock()
	if path, info, err = f.find(); err != nil { // it may be there by now
		return err
	}
	records, err := read(path)
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
	if err := replaceFile(path, info, b.String()); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// replaceFile puts a new file in the place of old, with its mode and owner, or makes a first
// one where old is nil.
func replaceFile(path string, old fs.FileInfo, content string) (err error) {
	// The name is the same each time, so that nothing piles up after crashes. The lock
	// has it that nobody else writes now.
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp)
		}
	}()
	if err = keep(file, old); err == nil {
		_, err = file.WriteString(content)
	}
	if err == nil {
		err = file.Sync()
	}
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return err
	}
	// Only this makes the rename outlive a power cut.
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// keep gives a new file the owner and the mode of an old one.
func keep(file *os.File, old fs.FileInfo) error {
	if old == nil {
		return nil
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	was, is := old.Sys().(*syscall.Stat_t), info.Sys().(*syscall.Stat_t)
	if is.Uid != was.Uid || is.Gid != was.Gid {
		if err := file.Chown(int(was.Uid), int(was.Gid)); err != nil {
			return err
		}
	}
	if info.Mode().Perm() == old.Mode().Perm() {
		return nil
	}
	return file.Chmod(old.Mode().Perm())
}

// lockWait bounds the wait for the lock where the caller has no bound of its own. It is held
// for the time of one write, but there may be hundreds of writers: when a rack dies, so
// many hooks come at once.
const lockWait = 10 * time.Second

// lock takes the lock of the file at path. Whoever may write the file may lock it.
func lock(ctx context.Context, path string, records fs.FileInfo) (unlock func(), err error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, lockWait)
		defer cancel()
	}
	file, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err == nil && records != nil && os.Geteuid() == 0 {
		err = keep(file, records)
	}
	if err != nil {
		if file != nil {
			file.Close()
		}
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	// The kernel hands the lock on in the order in which it was asked for; whoever tries
	// again and again may try for ever.
	locked := make(chan error, 1)
	go func() {
		for {
			if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
				locked <- err
				return
			}
		}
	}()
	select {
	case err = <-locked:
		if err == nil {
			return func() { file.Close() }, nil
		}
		file.Close()
		return nil, fmt.Errorf("%w: lock %s: %w", ErrUnavailable, file.Name(), err)
	case <-ctx.Done():
		go func() {
			<-locked
			file.Close()
		}()
		return nil, fmt.Errorf("%w: %s stays locked by another process", ErrUnavailable, file.Name())
	}
}
