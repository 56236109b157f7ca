package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Presence is a lock that a process holds for as long as it lives: the kernel
// drops it when the process dies, however it dies. It proves that at most one
// supervisor runs under a node's name.
type Presence struct{ file *os.File }

// ErrPresent: another live process holds the presence of that name.
var ErrPresent = errors.New("another nova-evac is running under this name")

// lockSuffix ends the name of a presence's lock file.
const lockSuffix = ".alive"

// Announce takes the presence of name in dir, which has to exist.
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
			return &Presence{file}, nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	file.Close()
	return nil, fmt.Errorf("announce %s: %w (%s is locked)", name, ErrPresent, path)
}

// Withdraw gives the presence up.
func (p *Presence) Withdraw() error { return p.file.Close() }

// Local is the cluster of the processes on one machine that share a directory:
// who has announced itself there and lives is a member. It stands in for
// Pacemaker where records are kept in a file.
type Local struct{ Dir string }

// View tries every lock. A dead process counts as a node that is offline and clean.
func (l Local) View(context.Context) (View, error) {
	paths, err := filepath.Glob(filepath.Join(l.Dir, "*"+lockSuffix))
	if err != nil {
		return View{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	v := View{Quorum: true, Nodes: map[string]Node{}, Supervisors: map[string]bool{}}
	for _, path := range paths {
		alive, err := locked(path)
		if err != nil {
			return View{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		name := strings.TrimSuffix(filepath.Base(path), lockSuffix)
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
