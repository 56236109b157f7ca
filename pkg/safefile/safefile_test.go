package safefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// asRoot skips what only root can set up.
func asRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for files of another user")
	}
}

const somebody = 65534

func TestADirectoryIsOursWhereNobodyElseCanChangeIt(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(dir string) (string, error)
		root    bool
		ours    bool
	}{
		{"our own", func(dir string) (string, error) { return dir, os.Chmod(dir, 0o700) }, false, true},
		{"it is not there yet", func(dir string) (string, error) { return filepath.Join(dir, "a", "b"), nil }, false, true},
		{"the group may write", func(dir string) (string, error) { return dir, os.Chmod(dir, 0o770) }, false, false},
		{"anybody may write, sticky", func(dir string) (string, error) { return dir, os.Chmod(dir, 0o777|os.ModeSticky) }, false, false},
		{"it would be made where anybody may write", func(dir string) (string, error) { return filepath.Join(dir, "a"), os.Chmod(dir, 0o777) }, false, false},
		{"anybody may rename it", func(dir string) (string, error) {
			return filepath.Join(dir, "a"), errors.Join(os.Mkdir(filepath.Join(dir, "a"), 0o700), os.Chmod(dir, 0o777))
		}, false, false},
		{"it is ours in a sticky one", func(dir string) (string, error) {
			return filepath.Join(dir, "a"), errors.Join(os.Mkdir(filepath.Join(dir, "a"), 0o700), os.Chmod(dir, 0o777|os.ModeSticky))
		}, false, true},
		{"a file", func(dir string) (string, error) {
			return filepath.Join(dir, "a"), os.WriteFile(filepath.Join(dir, "a"), nil, 0o600)
		}, false, false},
		{"a link to nowhere", func(dir string) (string, error) {
			return filepath.Join(dir, "a"), os.Symlink(filepath.Join(dir, "b"), filepath.Join(dir, "a"))
		}, false, false},
		{"another user's", func(dir string) (string, error) { return dir, os.Chown(dir, somebody, -1) }, true, false},
		{"another user's, behind a link", func(dir string) (string, error) {
			return filepath.Join(dir, "b"), errors.Join(os.Mkdir(filepath.Join(dir, "a"), 0o700), os.Chown(filepath.Join(dir, "a"), somebody, -1),
				os.Symlink(filepath.Join(dir, "a"), filepath.Join(dir, "b")))
		}, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.root {
				asRoot(t)
			}
			dir, err := c.prepare(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			if err := CheckDirectory(dir); (err == nil) != c.ours {
				t.Error(err)
			}
		})
	}
}

func TestAnotherUsersFileIsNotAppendedTo(t *testing.T) {
	asRoot(t)
	for _, c := range []struct {
		name    string
		prepare func(path, secret string) error
		opens   bool
	}{
		{"there is none", func(string, string) error { return nil }, true},
		{"our own", func(path, _ string) error { return os.WriteFile(path, nil, 0o600) }, true},
		{"a link to another file", func(path, secret string) error { return os.Symlink(secret, path) }, false},
		{"another name of another file", func(path, secret string) error { return os.Link(secret, path) }, false},
		{"a fifo", func(path, _ string) error { return unix.Mkfifo(path, 0o600) }, false},
		{"his own file", func(path, _ string) error {
			return errors.Join(os.WriteFile(path, nil, 0o666), os.Chown(path, somebody, -1))
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			his, ours := t.TempDir(), t.TempDir()
			path, secret := filepath.Join(his, "log"), filepath.Join(ours, "passwd")
			if err := errors.Join(os.WriteFile(secret, nil, 0o600), os.Chown(his, somebody, -1), c.prepare(path, secret)); err != nil {
				t.Fatal(err)
			}
			file, err := OpenAppend(path, 0o640)
			if (err == nil) != c.opens {
				t.Fatal(err)
			}
			if err == nil {
				file.Close()
			}
		})
	}
	t.Run("a link in a directory of ours", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Symlink(filepath.Join(dir, "b"), filepath.Join(dir, "a")); err != nil {
			t.Fatal(err)
		}
		file, err := OpenAppend(filepath.Join(dir, "a"), 0o640)
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
		if _, err := os.Stat(filepath.Join(dir, "b")); errors.Is(err, fs.ErrNotExist) {
			t.Error("the link was not followed")
		}
	})
}
