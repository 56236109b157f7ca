package lab

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Controllers are the names of the full members of the cluster.
var Controllers = []string{"ctl1", "ctl2", "ctl3"}

// Node is a node's state as the cluster sees it.
type Node struct {
	Name    string `xml:"name,attr"`
	Type    string `xml:"type,attr"` // member or remote
	Online  bool   `xml:"online,attr"`
	Unclean bool   `xml:"unclean,attr"` // to be fenced
	Pending bool   `xml:"pending,attr"` // joining
}

func (n Node) String() string {
	s := "offline"
	if n.Online {
		s = "online"
	}
	if n.Unclean {
		s += ", unclean"
	}
	if n.Pending {
		s += ", pending"
	}
	return n.Name + " is " + s
}

// State is the state of all nodes by name, as a controller with quorum sees it.
func (l *Lab) State(ctx context.Context) (map[string]Node, error) {
	type answer struct {
		nodes map[string]Node
		err   error
	}
	// All at once: one that hangs holds nobody up.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer, len(Controllers))
	for _, ctl := range Controllers {
		go func() {
			nodes, err := l.ask(ctx, ctl)
			answers <- answer{nodes, err}
		}()
	}
	var errs []error
	for range Controllers {
		a := <-answers
		if a.err == nil {
			return a.nodes, nil
		}
		errs = append(errs, a.err)
	}
	return nil, fmt.Errorf("no controller with quorum answers: %w", errors.Join(errs...))
}

// ask has one controller's view, if it may be trusted: a member that is cut off
// believes what it likes.
func (l *Lab) ask(ctx context.Context, ctl string) (map[string]Node, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := l.Exec(ctx, ctl, "crm_mon", "-1", "--output-as=xml")
	if err != nil {
		return nil, err
	}
	var view struct {
		DC struct {
			Present bool `xml:"present,attr"`
			Quorum  bool `xml:"with_quorum,attr"`
		} `xml:"summary>current_dc"`
		Nodes []Node `xml:"nodes>node"`
	}
	if err := xml.Unmarshal([]byte(out), &view); err != nil {
		return nil, fmt.Errorf("%s: reading crm_mon: %w", ctl, err)
	}
	if !view.DC.Present || !view.DC.Quorum {
		return nil, fmt.Errorf("%s has no DC or no quorum", ctl)
	}
	nodes := map[string]Node{}
	for _, n := range view.Nodes {
		nodes[n.Name] = n
	}
	return nodes, nil
}

// WaitOnline waits until these nodes are online, joined and clean; all nodes of the
// lab, where none is named. A remote node can be online only after a configuration
// that has it was loaded.
func (l *Lab) WaitOnline(ctx context.Context, nodes ...string) error {
	return l.waitNodes(ctx, "to be online", nodes, func(n Node) bool { return n.Online && !n.Unclean && !n.Pending })
}

// WaitFenced waits until these nodes are offline and clean: the cluster is sure that
// they are off. All nodes of the lab, where none is named.
func (l *Lab) WaitFenced(ctx context.Context, nodes ...string) error {
	return l.waitNodes(ctx, "to be fenced", nodes, func(n Node) bool { return !n.Online && !n.Unclean && !n.Pending })
}

func (l *Lab) waitNodes(ctx context.Context, what string, nodes []string, is func(Node) bool) error {
	if len(nodes) == 0 {
		var err error
		if nodes, err = l.Nodes(); err != nil {
			return err
		}
	}
	return Wait(ctx, 2*time.Minute, strings.Join(nodes, ", ")+" "+what, func(ctx context.Context) error {
		state, err := l.State(ctx)
		if err != nil {
			return err
		}
		var not []string
		for _, name := range nodes {
			if n, known := state[name]; !known {
				not = append(not, name+" is unknown to the cluster")
			} else if !is(n) {
				not = append(not, n.String())
			}
		}
		if not != nil {
			return errors.New(strings.Join(not, "; "))
		}
		return nil
	})
}

// busy is how many times longer all takes on a machine that does much other work than on one
// of two cores that does none.
const busy = 3

// Wait calls check again and again until it returns nil, or the context ends, or the limit is
// over by far: it is what is enough on a machine of two cores that does nothing else. The error
// of check says what is seen instead of what is waited for; the last one is part of Wait's
// error.
func Wait(ctx context.Context, limit time.Duration, what string, check func(context.Context) error) error {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, busy*limit)
	defer cancel()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		// An answer that the end of the wait cut off says nothing.
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("waited %s for %s (%w); last seen: %w", time.Since(start).Round(100*time.Millisecond), what, ctx.Err(), last)
		}
	}
}

// Need ends the test where no lab can be: it is skipped when not run by root, and
// fails instead where CI=true, since nothing may be left out there.
func Need(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("the lab needs root, and with CI=true no test may be left out")
	}
	t.Skip("the lab needs root")
}

// Nodes are the names of all nodes, on or off.
func (l *Lab) Nodes() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join("/tmp/nova-evac-lab-"+l.name, "nodes"))
	if err != nil {
		return nil, fmt.Errorf("listing the nodes of lab %s: %w", l.name, err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// LoadConfig loads a crmsh configuration into the cluster, in addition to what it has,
// and waits until everything in it runs and the remote nodes are online. @NET@ and
// @AUTH_URL@ in it are replaced.
func (l *Lab) LoadConfig(ctx context.Context, file string) error {
	path, err := filepath.Abs(file)
	if err != nil {
		return fmt.Errorf("loading %s: %w", file, err)
	}
	_, err = l.run(ctx, longTimeout, unix.SIGTERM, "load.sh", path)
	return err
}
