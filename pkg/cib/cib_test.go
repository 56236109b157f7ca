package cib

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/nova-evac/nova-evac/pkg/record"
)

var t0 = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

// stores gives every kind of Records to a test: the file, and Pacemaker's own
// cibadmin working on a CIB in a file. test/e2e does the same on a live cluster.
func stores(t *testing.T, test func(t *testing.T, store Records)) {
	t.Run("in a file", func(t *testing.T) {
		test(t, File{Path: filepath.Join(t.TempDir(), "records"), Interval: 5 * time.Millisecond})
	})
	t.Run("in memory", func(t *testing.T) { test(t, &Memory{Interval: 5 * time.Millisecond}) })
	t.Run("in a CIB", func(t *testing.T) {
		if _, err := exec.LookPath("cibadmin"); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skip("Pacemaker's cibadmin is not installed; 'make test' as root installs it")
		}
		path := filepath.Join(t.TempDir(), "cib.xml")
		empty, err := exec.Command("cibadmin", "--empty").Output()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, empty, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("CIB_file", path)
		test(t, Pacemaker{Interval: 5 * time.Millisecond})
	})
}

func query(t *testing.T, store Records) []Stored {
	t.Helper()
	all, err := store.Query(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRecordsAreCreatedOnceAndChangedByCompareAndSwap(t *testing.T) {
	stores(t, func(t *testing.T, store Records) {
		ctx := context.Background()
		if all := query(t, store); len(all) != 0 {
			t.Fatalf("a new store holds %v", all)
		}
		first := record.NewlyFenced("compute-2", "", t0)
		a, err := store.Create(ctx, first)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Create(ctx, first); !errors.Is(err, ErrExists) {
			t.Errorf("created twice: %v", err)
		}
		if _, err := store.Create(ctx, record.NewlyFenced("compute-1.example.org", "compute-1", t0)); err != nil {
			t.Fatal(err)
		}
		// Nova's messages have every kind of quote in them.
		next := a.Claimed("ctl1", 0, 0, t0.Add(time.Second))
		next.Wait = record.WaitFor(`Cannot 'evacuate' instance "x" <b> & it's 100% "'mixed'"`)
		b, err := store.Replace(ctx, a, next)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Replace(ctx, a, next); !errors.Is(err, ErrConflict) {
			t.Errorf("replaced what is not there any more: %v", err)
		}
		if _, err := store.Replace(ctx, b, b.Settled(t0.Add(time.Minute))); err != nil {
			t.Errorf("what was written cannot be replaced: %v", err)
		}
		all := query(t, store)
		if len(all) != 2 || all[0].Host != "compute-1.example.org" || all[1].Phase != record.Evacuated || all[1].Owner != "" {
			t.Errorf("%+v", all)
		}
	})
}

func TestARecordIsDeletedOnlyAsItWasRead(t *testing.T) {
	stores(t, func(t *testing.T, store Records) {
		first, err := store.Create(t.Context(), record.NewlyFenced("compute-1", "", t0))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Create(t.Context(), record.NewlyFenced("compute-2", "", t0)); err != nil {
			t.Fatal(err)
		}
		second, err := store.Replace(t.Context(), first, first.Claimed("ctl1", 0, 0, t0))
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Delete(t.Context(), first); !errors.Is(err, ErrConflict) {
			t.Errorf("what has changed since: %v", err)
		}
		for range 2 {
			if err := store.Delete(t.Context(), second); err != nil {
				t.Errorf("as it stands, and once more: %v", err)
			}
		}
		if left := query(t, store); len(left) != 1 || left[0].Host != "compute-2" {
			t.Errorf("%+v", left)
		}
	})
}

func TestAMalformedRecordDoesNotAffectOthers(t *testing.T) {
	stores(t, func(t *testing.T, store Records) {
		ctx := context.Background()
		if _, err := store.Create(ctx, record.NewlyFenced("good", "", t0)); err != nil {
			t.Fatal(err)
		}
		bad, err := store.Create(ctx, record.Record{Host: "bad", Phase: "nonsense"})
		if err != nil {
			t.Fatal(err)
		}
		all := query(t, store)
		if len(all) != 2 || !errors.Is(all[0].Err, record.ErrMalformed) || all[1].Err != nil {
			t.Fatalf("%+v", all)
		}
		if _, written, err := NoteFenced(ctx, store, "bad", "", t0); err != nil || !written {
			t.Errorf("a fencing does not put it right: %v", err)
		}
		if s, _ := Find(query(t, store), "bad"); s.Err != nil || s.Phase != record.Fenced {
			t.Errorf("%+v (was %+v)", s, bad)
		}
	})
}

func TestTenOffCallsWriteOnce(t *testing.T) {
	stores(t, func(t *testing.T, store Records) {
		writes := 0
		for i := range 10 {
			s, written, err := NoteFenced(context.Background(), store, "compute-1", "node-1", t0.Add(time.Duration(i)*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			if written {
				writes++
			}
			if s.Gen != 1 || s.Since != t0 {
				t.Fatalf("call %d: %s", i+1, s.Encode())
			}
		}
		if writes != 1 {
			t.Errorf("%d writes", writes)
		}
	})
}

func TestAReturnWithoutARecordIsNone(t *testing.T) {
	stores(t, func(t *testing.T, store Records) {
		if _, written, err := NoteBack(context.Background(), store, "compute-1", t0); err != nil || written {
			t.Errorf("%v %v", written, err)
		}
	})
}

func TestOnlyAHostsNameBecomesAnID(t *testing.T) {
	stores(t, func(t *testing.T, store Records) {
		if _, err := store.Create(context.Background(), record.NewlyFenced(`x' or @id="y`, "", t0)); err == nil {
			t.Error("created")
		}
	})
}

func TestOfManyWritersEachChangeIsKept(t *testing.T) {
	store := File{Path: filepath.Join(t.TempDir(), "records")}
	ctx := context.Background()
	if _, err := store.Create(ctx, record.NewlyFenced("h", "", t0)); err != nil {
		t.Fatal(err)
	}
	const writers, rounds = 6, 10
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for range rounds {
				if _, _, err := Modify(ctx, store, "h", func(s Stored, _ bool) (record.Record, bool) {
					s.Done++
					return s.Record, true
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if s, _ := Find(query(t, store), "h"); s.Done != writers*rounds {
		t.Errorf("%d of %d changes were kept", s.Done, writers*rounds)
	}
}

func TestWhatIsNoFileIsNotReplaced(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"a directory":                func(path string) error { return os.Mkdir(path, 0o700) },
		"a fifo":                     func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a link to a device":         func(path string) error { return os.Symlink("/dev/zero", path) },
		"a link to nowhere":          func(path string) error { return os.Symlink("/nowhere", path) },
		"in no directory":            func(string) error { return nil },
		"a link to itself":           func(path string) error { return os.Symlink(path, path) },
		"below something that isn't": func(path string) error { return os.WriteFile(filepath.Dir(path), nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "records")
			if name == "in no directory" || strings.HasPrefix(name, "below") {
				path = filepath.Join(path, "records")
			}
			if err := make(path); err != nil {
				t.Fatal(err)
			}
			before, _ := os.Lstat(path)
			store := File{Path: path}
			if _, err := store.Query(t.Context()); !errors.Is(err, ErrUnavailable) {
				t.Errorf("it is read: %v", err)
			}
			if _, err := store.Create(t.Context(), record.NewlyFenced("h", "", t0)); !errors.Is(err, ErrUnavailable) {
				t.Errorf("it is written: %v", err)
			}
			if after, _ := os.Lstat(path); before != nil && (after == nil || after.Mode() != before.Mode()) {
				t.Errorf("%v became %v", before.Mode(), after)
			}
		})
	}
}

func TestALinkAndItsFileAreOneStore(t *testing.T) {
	dir := t.TempDir()
	file, link := File{Path: filepath.Join(dir, "records")}, File{Path: filepath.Join(dir, "link")}
	if _, err := file.Create(t.Context(), record.NewlyFenced("a", "", t0)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file.Path, link.Path); err != nil {
		t.Fatal(err)
	}
	if _, err := link.Create(t.Context(), record.NewlyFenced("b", "", t0)); err != nil {
		t.Fatal(err)
	}
	if all := query(t, file); len(all) != 2 {
		t.Errorf("the file has %d records", len(all))
	}
	if path, err := link.Resolve(); err != nil || path != file.Path {
		t.Error(path, err)
	}
	if info, err := os.Lstat(link.Path); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is none any more: %v, %v", info, err)
	}
	if locks, _ := filepath.Glob(filepath.Join(dir, "*.lock")); len(locks) != 1 {
		t.Errorf("it has these locks: %v", locks)
	}
}

func TestAFileKeepsItsModeAndOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, 0o640)); err != nil {
		t.Fatal(err)
	}
	owner := os.Getuid()
	if owner == 0 {
		owner = 65534
		if err := os.Chown(path, owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := (File{Path: path}).Create(t.Context(), record.NewlyFenced("h", "", t0)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + ".lock"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if is := info.Sys().(*syscall.Stat_t); int(is.Uid) != owner || owner == 65534 && info.Mode().Perm() != 0o640 {
			t.Errorf("%s: %v of %d", name, info.Mode(), is.Uid)
		}
	}
}

func TestNothingIsLeftOfAWriteThatWasCutOff(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "records")
	if err := os.WriteFile(filepath.Join(dir, ".records.new"), []byte("half a li"), 0o600); err != nil {
		t.Fatal(err)
	}
	store := File{Path: path}
	if _, err := store.Create(t.Context(), record.NewlyFenced("h", "", t0)); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 || len(query(t, store)) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}

func TestHundredsOfHooksWaitForEachOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var group sync.WaitGroup
	for n := range 400 {
		group.Go(func() {
			if _, _, err := NoteFenced(ctx, File{Path: path}, fmt.Sprintf("compute-%d", n), "", t0); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if all := query(t, File{Path: path}); len(all) != 400 {
		t.Errorf("%d are recorded", len(all))
	}
}

func TestALockIsWaitedForAsLongAsTheCallerDoes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	unlock, err := lock(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := (File{Path: path}).Create(ctx, record.NewlyFenced("h", "", t0)); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "locked") {
		t.Error(err)
	}
	unlock()
	if _, err := (File{Path: path}).Create(t.Context(), record.NewlyFenced("h", "", t0)); err != nil {
		t.Error(err)
	}
}

func TestSubscribeSendsAllRecordsAndEveryChange(t *testing.T) {
	stores(t, func(t *testing.T, store Records) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		updates := store.Subscribe(ctx)
		next := func() Update {
			select {
			case u := <-updates:
				return u
			case <-time.After(10 * time.Second):
				t.Fatal("nothing came in 10 s")
				return Update{}
			}
		}
		if u := next(); u.Err != nil || len(u.Records) != 0 {
			t.Errorf("%+v", u)
		}
		if _, err := store.Create(ctx, record.NewlyFenced("h", "", t0)); err != nil {
			t.Fatal(err)
		}
		if u := next(); len(u.Records) != 1 {
			t.Errorf("%+v", u)
		}
		cancel()
		for range updates {
		}
	})
}

func TestAClusterThatDoesNotAnswerIsUnavailable(t *testing.T) {
	dir := t.TempDir()
	for name, script := range map[string]string{
		"hangs": "#!/bin/sh\nexec sleep 60\n",
		"fails": "#!/bin/sh\necho 'Could not connect to the CIB: Transport endpoint is not connected' >&2\nexit 102\n",
	} {
		command := filepath.Join(dir, name)
		if err := os.WriteFile(command, []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		store := Pacemaker{Command: command, Timeout: 100 * time.Millisecond}
		if _, err := store.Query(context.Background()); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := store.Create(context.Background(), record.NewlyFenced("h", "", t0)); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestXPathLiterals(t *testing.T) {
	for s, want := range map[string]string{
		`plain`:   `'plain'`,
		`it's`:    `"it's"`,
		`a"b'c'd`: `concat('a"b',"'",'c',"'",'d')`,
	} {
		if diff := cmp.Diff(want, xpathLiteral(s)); diff != "" {
			t.Error(diff)
		}
	}
}

func FuzzParseSet(f *testing.F) {
	f.Add([]byte(`<cluster_property_set id="nova-evac"><nvpair id="i" name="host-a" value="phase=fenced gen=1 since=2026-03-01T03:00:00Z"/></cluster_property_set>`))
	f.Add([]byte(`<xpath-query><cluster_property_set/></xpath-query>`))
	f.Fuzz(func(t *testing.T, out []byte) {
		records, err := parseSet(out)
		if err != nil {
			return
		}
		for _, r := range records {
			if strings.HasPrefix(fmt.Sprint(r.Err), "%!") {
				t.Error(r.Err)
			}
		}
	})
}
