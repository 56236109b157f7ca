package cluster

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nova-evac/nova-evac/pkg/pacemaker"
	"github.com/nova-evac/nova-evac/pkg/pacemaker/recorded"
)

// TestEveryPacemakerIsReadAlike reads what the tools of each version have printed.
func TestEveryPacemakerIsReadAlike(t *testing.T) {
	recorded.Each(t, func(t *testing.T, answer func(string) recorded.Answer) {
		view := func(name string) View {
			t.Helper()
			v, err := parse(answer(name).Out)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return v
		}
		up, remote := Node{Online: true}, Node{Online: true, Remote: true}
		for name, want := range map[string]struct {
			quorum      bool
			ctl3        Node
			supervisors string
			gone        bool
		}{
			"healthy": {true, up, "ctl1 ctl2 ctl3", false},
			"unclean": {true, Node{Unclean: true}, "ctl1 ctl2 ctl3", false},
			"fenced":  {true, Node{}, "ctl1 ctl2", true},
			"joining": {true, Node{Online: true, Pending: true}, "ctl1 ctl2", false},
		} {
			v := view(name)
			if v.Quorum != want.quorum || v.Maintenance {
				t.Errorf("%s: %+v", name, v)
			}
			nodes := map[string]Node{"ctl1": up, "ctl2": up, "ctl3": want.ctl3, "compute-1": remote, "compute-2": remote}
			for node, n := range v.Nodes {
				if n.Remote && name != "healthy" { // ctl3 may have had its connection
					v.Nodes[node] = remote
				}
			}
			if diff := cmp.Diff(nodes, v.Nodes); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
			if on := strings.Join(slices.Sorted(maps.Keys(v.Supervisors)), " "); on != want.supervisors {
				t.Errorf("%s: supervisors on %s, expected %s", name, on, want.supervisors)
			}
			if gone := v.Owner("ctl3").Gone(); gone != want.gone {
				t.Errorf("%s: ctl3 is gone: %v", name, gone)
			}
		}
		if v := view("noquorum"); v.Quorum {
			t.Errorf("a partition without quorum: %+v", v)
		}
		if _, err := parse(answer("down").Out); answer("down").Code == 0 || !errors.Is(err, ErrUnavailable) {
			t.Errorf("a cluster that is down: %v", err)
		}

		if call := answer("history").Call; call != "stonith_admin "+strings.Join(history, " ") {
			t.Errorf("the history was recorded with another call: %s", call)
		}
		fencings, err := parseFencings(answer("history").Out)
		if err != nil {
			t.Fatal(err)
		}
		var off []string
		for _, f := range fencings {
			off = append(off, f.Target)
			if f.Completed.IsZero() {
				t.Errorf("fenced at no time: %+v", f)
			}
		}
		slices.Sort(off)
		if !slices.Equal(off, []string{"compute-1", "ctl3"}) {
			t.Errorf("fenced: %v", off)
		}
		if none, err := parseFencings(answer("history-none").Out); err != nil || len(none) != 0 {
			t.Errorf("nobody was fenced: %v, %v", none, err)
		}

		remotes, err := parseRemotes(answer("remotes").Out)
		if diff := cmp.Diff(map[string]string{"compute-1": "10.77.0.101:3121", "compute-2": "10.77.0.102:3121"}, remotes); diff != "" || err != nil {
			t.Errorf("remote nodes: %v %s", err, diff)
		}
		for name, want := range map[string][]string{"apart": {"compute-1"}, "aparts": {"compute-1", "compute-2"}} {
			if nodes, err := parseApart(answer(name).Out); err != nil || !slices.Equal(nodes, want) {
				t.Errorf("%s: %v, %v", name, nodes, err)
			}
		}
		if diff := cmp.Diff(map[string]string{"compute-1": "1795571640", "compute-2": "1795571643"}, parseAttributes(answer("leases").Out)); diff != "" {
			t.Errorf("leases: %s", diff)
		}
		for name, want := range map[string]int{
			"leases-none": pacemaker.ExitConfig, "lease-deleted": 0,
			"apart-none": pacemaker.ExitNoSuch, "apart-exists": pacemaker.ExitExists, "apart-deleted-again": 0,
		} {
			if a := answer(name); a.Code != want {
				t.Errorf("%s: %s exited with %d, expected %d", name, a.Call, a.Code, want)
			}
		}
	})
}
