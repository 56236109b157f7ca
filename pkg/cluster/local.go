package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// SupervisorPresence is the name of the presence that a supervisor has in its state_dir.
const SupervisorPresence = "supervisor"

// Presence is a lock that a process holds for as long as it lives: the kernel
// drops it when the process dies, however it dies. It proves that at most one
// supervisor runs under a node's name.
type Presence struct{ file *os.File }

// ErrPresent: another live process holds the presence of that name.
var ErrPresent = errors.New("another nova-evac is running under this name")

// lockSuffix ends the name of a presence's lock file.
const lockSuffix = ".alive"

// Announce takes the presence of name in dir, which has to exist. A process whose lock
// file was deleted still has the presence.
func Announce(dir, name string) (*Presence, error) {
	path := filepath.Join(dir, name+lockSuffix)
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("announce %s: %w", name, err)
	}
	// Whoever looks whether we live holds the lock for a moment: try again before
	// taking that for another process of our name.
	for range 50 {
		if err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("announce %s: %w (%s is locked)", name, ErrPresent, path)
	}
	holders, err := Holders(dir, name)
	if err == nil {
		for _, pid := range holders {
			if pid != os.Getpid() {
				err = fmt.Errorf("%w (process %d holds %s, which was deleted)", ErrPresent, pid, path)
			}
		}
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("announce %s: %w", name, err)
	}
	return &Presence{file}, nil
}

// Holders gives the processes that hold the presence of name in dir, also those whose lock
// file, or its directory, was deleted. It gives the processes of this user only: another
// user's lock on a file of his is no presence.
func Holders(dir, name string) ([]int, error) {
	// A file is known by its path and its file system: another container has another
	// file system under the same path. What is gone was on that of its parent.
	path, device, err := whereabouts(dir)
	if err != nil {
		return nil, fmt.Errorf("who holds the presence of %s: %w", name, err)
	}
	path = filepath.Join(path, name+lockSuffix)
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return nil, fmt.Errorf("who holds the presence of %s: %w", name, err)
	}
	var pids []int
	for line := range strings.Lines(string(locks)) {
		// proc_locks(5): "1: FLOCK  ADVISORY  WRITE 4711 fd:00:131 0 EOF"
		fields := strings.Fields(line)
		if len(fields) < 5 || fields[1] != "FLOCK" || fields[3] != "WRITE" {
			continue
		}
		pid, err := strconv.Atoi(fields[4])
		if err == nil && runsAsUs(pid) && pid > 0 && !slices.Contains(pids, pid) && opened(pid, path, device) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func runsAsUs(pid int) bool {
	var at unix.Stat_t
	return unix.Stat(fmt.Sprintf("/proc/%d", pid), &at) == nil && int(at.Uid) == os.Geteuid()
}

// whereabouts gives dir's path without symbolic links, and its file system. Of a directory
// that is gone they come from its nearest parent.
func whereabouts(dir string) (path string, device uint64, err error) {
	if path, err = filepath.Abs(dir); err != nil {
		return "", 0, err
	}
	rest := ""
	for {
		resolved, err := filepath.EvalSymlinks(path)
		var at unix.Stat_t
		if err == nil {
			if err = unix.Stat(resolved, &at); err == nil {
				return filepath.Join(resolved, rest), at.Dev, nil
			}
		}
		if !errors.Is(err, fs.ErrNotExist) || path == "/" {
			return "", 0, err
		}
		rest = filepath.Join(filepath.Base(path), rest)
		path = filepath.Dir(path)
	}
}

// opened reports whether a process has a file open, even one that was deleted.
func opened(pid int, path string, device uint64) bool {
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return false
	}
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || strings.TrimSuffix(target, " (deleted)") != path {
			continue
		}
		var at unix.Stat_t
		if unix.Stat(link, &at) == nil && at.Dev == device {
			return true
		}
	}
	return false
}

// Held reports whether a process holds the presence of name in dir, by its lock file.
func Held(dir, name string) (bool, error) {
	held, err := locked(filepath.Join(dir, name+lockSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return held, err
}

// Withdraw gives the presence up.
func (p *Presence) Withdraw() error { return p.file.Close() }

// Local is the cluster of the processes on one machine that share a directory:
// who has announced itself there and lives is a member. It stands in for
// Pacemaker where records are kept in a file.
type Local struct{ Dir string }

// View tries every lock. A dead process counts as a node that is offline and clean.
func (l Local) View(context.Context) (View, error) {
	// Not by a pattern: the directory's own name may look like one.
	entries, err := os.ReadDir(l.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return View{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	v := View{Quorum: true, Nodes: map[string]Node{}, Supervisors: map[string]bool{}}
	for _, entry := range entries {
		name, lock := strings.CutSuffix(entry.Name(), lockSuffix)
		if !lock {
			continue
		}
		alive, err := locked(filepath.Join(l.Dir, entry.Name()))
		if err != nil {
			return View{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		v.Nodes[name] = Node{Online: alive}
		v.Supervisors[name] = alive
	}
	return v, nil
}

// locked asks for a shared lock: it is refused only while a process holds its own.
func locked(path string) (bool, error) {
	file, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	err = unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}
