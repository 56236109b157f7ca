// Package safefile keeps root from trusting files that another user may have made: his pid
// file would have root end any process, his symbolic link would have root write any file.
package safefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrNotOurs: another user can change what is there.
var ErrNotOurs = errors.New("another user can change what is there")

// CheckDirectory answers whether only root and this process's own user can change what is in
// a directory. One that does not exist is fine where its parents are. The error says what
// to do.
func CheckDirectory(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	resolved, err := filepath.EvalSymlinks(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && dir != "/":
		if _, err := os.Lstat(dir); err == nil {
			return fmt.Errorf("%s is a link to nowhere", dir)
		}
		return CheckDirectory(filepath.Dir(dir))
	case err != nil:
		return err
	}
	if err := check(resolved, false); err != nil {
		return err
	}
	// Whoever can rename a parent can put another directory there.
	for parent := resolved; parent != "/"; {
		parent = filepath.Dir(parent)
		if err := check(parent, true); err != nil {
			return err
		}
	}
	return nil
}

// check looks at one directory. In a sticky one, such as /tmp, nobody can rename what
// others own: that will do for a parent.
func check(dir string, parent bool) error {
	var at unix.Stat_t
	if err := unix.Stat(dir, &at); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	switch {
	case at.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("%s is no directory", dir)
	case at.Uid != 0 && int(at.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to the user %d: %w; choose another directory, or chown it", dir, at.Uid, ErrNotOurs)
	case at.Mode&0o022 != 0 && (!parent || at.Mode&unix.S_ISVTX == 0):
		return fmt.Errorf("others may write to %s: %w; choose another directory, or 'chmod go-w' it", dir, ErrNotOurs)
	}
	return nil
}

// OpenAppend opens a file to append to it, and makes it where it is not there. In a directory
// in which another user can make files it follows no link, and takes only a regular file of
// one name that belongs to root or to this process's user.
func OpenAppend(path string, mode os.FileMode) (*os.File, error) {
	const flags = os.O_CREATE | os.O_APPEND | os.O_WRONLY
	if CheckDirectory(filepath.Dir(path)) == nil {
		return os.OpenFile(path, flags, mode)
	}
	// Without O_NONBLOCK, opening his fifo would wait for ever.
	file, err := os.OpenFile(path, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK, mode)
	if err != nil {
		return nil, err
	}
	var at unix.Stat_t
	err = unix.Fstat(int(file.Fd()), &at)
	if err == nil && (at.Mode&unix.S_IFMT != unix.S_IFREG || at.Nlink != 1 || at.Uid != 0 && int(at.Uid) != os.Geteuid()) {
		err = ErrNotOurs
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: %w; choose another place, or remove it", path, err)
	}
	return file, nil
}
