package cib

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nova-evac/nova-evac/pkg/pacemaker"
	"github.com/nova-evac/nova-evac/pkg/pacemaker/recorded"
)

// TestEveryPacemakerStoresAlike: the records and the exit codes on which their writing rests.
func TestEveryPacemakerStoresAlike(t *testing.T) {
	recorded.Each(t, func(t *testing.T, answer func(string) recorded.Answer) {
		for name, want := range map[string]int{
			"records-none": pacemaker.ExitNoSuch, "record-first": pacemaker.ExitNoSuch, "record-made": 0,
			"record-exists": pacemaker.ExitExists, "record-second": 0, "record-again": pacemaker.ExitNoSuch,
			"record-swapped": 0, "record-stale": pacemaker.ExitNoSuch,
			"record-deleted-stale": 0, "record-deleted": 0, "record-gone": pacemaker.ExitNoSuch,
		} {
			if a := answer(name); a.Code != want {
				t.Errorf("%s: %s exited with %d, expected %d", name, a.Call, a.Code, want)
			}
		}
		all, err := parseSet(answer("records").Out)
		if err != nil {
			t.Fatal(err)
		}
		values := map[string]string{}
		for _, s := range all {
			values[s.Host] = s.raw
		}
		if diff := cmp.Diff(map[string]string{"compute-1": "2", "compute-2": `it's "a" <b> & 100%`}, values); diff != "" {
			t.Error(diff)
		}
	})
}
