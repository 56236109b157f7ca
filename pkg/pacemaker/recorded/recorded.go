// Package recorded has what Pacemaker's tools of several versions print, for tests: each
// call that nova-evac makes, in each state of a cluster that it tells apart. They were
// written by test/lab/record.sh on a real cluster, a directory for each version.
package recorded

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"testing"
)

//go:embed [0-9]*
var files embed.FS

// Answer is what a call of a tool gave.
type Answer struct {
	Call  string // the command, as its words joined by spaces
	Out   []byte // standard output
	Code  int
	Error string // the first line of standard error
}

// Answers are those of one version, by the names that record.sh gives them.
type Answers map[string]Answer

// Each runs a test with the answers of each version. A name that there is none of fails it.
func Each(t *testing.T, test func(t *testing.T, answer func(name string) Answer)) {
	t.Helper()
	all, err := versions()
	if err != nil {
		t.Fatal(err)
	}
	for version, answers := range all {
		t.Run("of Pacemaker "+version, func(t *testing.T) {
			test(t, func(name string) Answer {
				t.Helper()
				a, known := answers[name]
				if !known {
					t.Fatalf("there is no recorded %s", name)
				}
				return a
			})
		})
	}
}

func versions() (map[string]Answers, error) {
	all := map[string]Answers{}
	dirs, err := fs.ReadDir(files, ".")
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		version := dir.Name()
		calls, err := fs.ReadFile(files, path.Join(version, "calls.txt"))
		if err != nil {
			return nil, err
		}
		answers := Answers{}
		for line := range strings.Lines(string(calls)) {
			f := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 4)
			if len(f) != 4 {
				return nil, fmt.Errorf("%s/calls.txt: %q has not four fields", version, line)
			}
			a := Answer{Call: f[2], Error: f[3]}
			if a.Code, err = strconv.Atoi(f[1]); err != nil {
				return nil, fmt.Errorf("%s/calls.txt: %w", version, err)
			}
			// A tool that printed nothing has left no file.
			if out, err := fs.ReadFile(files, path.Join(version, f[0])); err == nil {
				a.Out = out
			}
			name, _, _ := strings.Cut(f[0], ".")
			answers[name] = a
		}
		all[version] = answers
	}
	return all, nil
}
