package record

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

var t0 = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

func TestARecordIsOneReadableLine(t *testing.T) {
	r := Record{Host: "compute-1.example.org", Node: "compute-1", Phase: Evacuating, Gen: 2, Owner: "ctl1", Doubt: 16,
		Since: t0, Counts: Counts{Total: 60, Done: 20, Failed: 1}, Updated: t0.Add(90 * time.Second),
		Wait: WaitFor("3 rebuilding (compute-2 3); 1 failed, vm-7: No valid host")}
	want := "phase=evacuating gen=2 node=compute-1 owner=ctl1 doubt=16 since=2026-03-01T03:00:00Z total=60 done=20 failed=1 skipped=0 " +
		"updated=2026-03-01T03:01:30Z waiting_for=3 rebuilding (compute-2 3); 1 failed, vm-7: No valid host"
	if diff := cmp.Diff(want, r.Encode()); diff != "" {
		t.Error(diff)
	}
	got, err := Parse(r.Host, want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, got, cmpopts.EquateComparable(Wait{})); diff != "" {
		t.Error(diff)
	}
}

func TestAnEncodedRecordIsParsedBack(t *testing.T) {
	count := rapid.IntRange(0, 1<<20)
	word := rapid.StringMatching(`[a-z0-9][a-z0-9@.-]{0,20}`)
	moment := rapid.Map(rapid.Int64Range(1, 1<<33), func(s int64) time.Time { return time.Unix(s, 0).UTC() })
	rapid.Check(t, func(t *rapid.T) {
		r := Record{
			Host: "h", Node: rapid.OneOf(rapid.Just(""), word).Filter(func(s string) bool { return s != "h" }).Draw(t, "node"),
			Phase: rapid.SampledFrom([]Phase{Fenced, Evacuating, Evacuated, Returning}).Draw(t, "phase"),
			Gen:   rapid.IntRange(1, 1<<20).Draw(t, "gen"),
			Owner: rapid.OneOf(rapid.Just(""), word).Draw(t, "owner"),
			Doubt: count.Draw(t, "doubt"), Since: moment.Draw(t, "since"), Updated: moment.Draw(t, "updated"),
			Counts: Counts{Total: count.Draw(t, "total"), Done: count.Draw(t, "done"), Failed: count.Draw(t, "failed"), Skipped: count.Draw(t, "skipped")},
			Hold:   rapid.SampledFrom([]Hold{"", HeldByGuard, HeldByOperator, Resumed}).Draw(t, "hold"),
			Back:   rapid.SampledFrom([]Back{NotBack, BackOn, BackRunning}).Draw(t, "back"), Refenced: rapid.IntRange(0, 9).Draw(t, "refenced"), Wait: WaitFor(rapid.String().Draw(t, "wait")),
		}
		value := r.Encode()
		if strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }) {
			t.Fatalf("the CIB would not give this value back as it was written: %q", value)
		}
		got, err := Parse("h", value)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, got, cmpopts.EquateComparable(Wait{})); diff != "" {
			t.Fatalf("%q: %s", value, diff)
		}
	})
}

func TestParseRefuses(t *testing.T) {
	for name, value := range map[string]string{
		"nothing":           "",
		"a value of no key": "phase=fenced gen",
		"no phase":          "gen=1 since=2026-03-01T03:00:00Z",
		"an unknown phase":  "phase=burning gen=1 since=2026-03-01T03:00:00Z",
		"no generation":     "phase=fenced since=2026-03-01T03:00:00Z",
		"a negative count":  "phase=fenced gen=1 since=2026-03-01T03:00:00Z done=-1",
		"a count in words":  "phase=fenced gen=one since=2026-03-01T03:00:00Z",
		"no since":          "phase=fenced gen=1",
		"an unknown hold":   "phase=fenced gen=1 since=2026-03-01T03:00:00Z hold=me",
		"a bad time":        "phase=fenced gen=1 since=yesterday",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("compute-1", value)
			if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "compute-1") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A newer version may write keys that this one does not know. In the middle of an upgrade it
// reads them again.
func TestKeysOfANewerVersionAreKept(t *testing.T) {
	r, err := Parse("h", "phase=fenced  gen=3 colour=blue since=2026-03-01T03:00:00Z tier=2 waiting_for=you")
	if err != nil || r.Gen != 3 || r.Extra != "colour=blue tier=2" {
		t.Errorf("%+v, %v", r, err)
	}
	for name, next := range map[string]Record{
		"claimed": r.Claimed("ctl1", 20, 0, t0), "fenced again": r.NextGeneration("", t0), "settled": r.Claimed("ctl1", 20, 0, t0).Settled(t0),
	} {
		again, err := Parse("h", next.Encode())
		if err != nil || again.Extra != r.Extra || next != again {
			t.Errorf("%s: %+v, %v", name, again, err)
		}
	}
}

// A record that cannot be read whole may be an owner's that is at work.
func TestARecordThatCannotBeReadIsNotForgottenByTheNextFencing(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"a phase of a newer version", "phase=thawing gen=3 owner=ctl2 claim=ctl2/1/20 doubt=5 since=2026-03-01T03:00:00Z",
			"phase=fenced gen=4 owner=ctl2 claim=ctl2/1/20 doubt=1048576 since=2026-03-01T04:00:00Z updated=2026-03-01T04:00:00Z"},
		{"an operator's hand, nothing claimed", "phase=fenced gen=3 since=2026-03-01T03:00:00Z done=many hold=operator",
			"phase=fenced gen=4 since=2026-03-01T04:00:00Z updated=2026-03-01T04:00:00Z hold=operator"},
		{"nothing of it can be read", "nonsense", "phase=fenced gen=1 since=2026-03-01T04:00:00Z updated=2026-03-01T04:00:00Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := Parse("h", c.value)
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			if got := r.FencedUnreadable("", t0.Add(time.Hour)).Encode(); got != c.want {
				t.Errorf("%s", got)
			}
		})
	}
}

func TestAClaimSaysHowManyRequestsMayBeUnseen(t *testing.T) {
	r := NewlyFenced("h", "", t0).Claimed("shell@ctl1", 20, 0, t0)
	if n, says := ClaimUnseen(r.Claim); n != 20 || !says {
		t.Errorf("%s: %d, %v", r.Claim, n, says)
	}
	for _, claim := range []string{"", "ctl1/mmy7f3k1", "ctl1/mmy7f3k1/x", "ctl1/mmy7f3k1/-1"} {
		if n, says := ClaimUnseen(claim); says {
			t.Errorf("%q says %d", claim, n)
		}
	}
}

func TestAFencingTellsTheNodeToARecordThatLacksIt(t *testing.T) {
	byHand := NewlyFenced("h", "", t0)
	if r, changed := byHand.FencedAgain("n", t0.Add(time.Second)); !changed || r.Node != "n" || r.Witness().Later(byHand.Witness()) {
		t.Errorf("%v, %s", changed, r.Encode())
	}
	for _, node := range []string{"", "h"} {
		if r, changed := byHand.FencedAgain(node, t0.Add(time.Second)); changed {
			t.Errorf("%q: %s", node, r.Encode())
		}
	}
}

func TestFencing(t *testing.T) {
	fenced := NewlyFenced("h", "n", t0)
	evacuating := fenced.Claimed("ctl1", 0, 0, t0.Add(time.Second))
	evacuated := evacuating.Settled(t0.Add(2 * time.Second))
	back := func(r Record) Record { r, _ = r.Seen(BackOn, t0.Add(3*time.Second)); return r }
	for _, c := range []struct {
		name  string
		from  Record
		after time.Duration
		gen   int
		again bool // it has to be looked at again
	}{
		{"of a host whose record nobody has claimed is the same fencing", fenced, 59 * time.Second, 1, false},
		{"in the middle of the evacuation is the same fencing", evacuating, 59 * time.Second, 1, false},
		{"an hour later is a new one: the host may have been on", evacuating, time.Hour, 2, true},
		{"of a host right after its evacuation is the same fencing, and looked at again", evacuated, 30 * time.Second, 1, true},
		{"of a host evacuated long ago is a new one", evacuated, time.Hour, 2, true},
		{"by a clock that is behind is a new one", evacuating, -2 * time.Minute, 2, true},
		{"by a clock that is a moment behind is the same fencing", evacuating, -3 * time.Second, 1, false},
		{"of a host that was seen back is a new one, claimed or not", back(fenced), 10 * time.Second, 2, true},
		{"of a host that came back in the middle is a new one", back(evacuating), 10 * time.Second, 2, true},
		{"of a host that is returning is a new one", back(evacuated), 10 * time.Second, 2, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, changed := c.from.FencedAgain("n", t0.Add(c.after))
			if got.Gen != c.gen || changed != c.again {
				t.Fatalf("gen %d, changed %v", got.Gen, changed)
			}
			since := t0.Add(c.after)
			if c.after < 0 {
				since = t0.Add(time.Second) // a later generation begins later
			}
			if changed && (got.Phase != Fenced || got.Since != since || got.Owner != c.from.Owner || got.Back != NotBack) {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestTenOffCallsAreOneGeneration(t *testing.T) {
	r := NewlyFenced("h", "", t0)
	for i := range 9 {
		next, changed := r.FencedAgain("", t0.Add(time.Duration(i)*time.Second))
		if changed {
			t.Fatalf("call %d changed the record to %s", i+2, next.Encode())
		}
	}
}

func TestClaims(t *testing.T) {
	r := NewlyFenced("h", "", t0)
	if r = r.Claimed("ctl1", 0, 16, t0); r.Doubt != 0 || r.Owner != "ctl1" || r.Phase != Evacuating {
		t.Errorf("a claim of a record that nobody held leaves no doubt: %s", r.Encode())
	}
	if r = r.Claimed("ctl2", 0, 16, t0); r.Doubt != 16 {
		t.Errorf("what a dead owner sent is in doubt: %s", r.Encode())
	}
	if r = r.Claimed("ctl3", 0, 20, t0); r.Doubt != 36 {
		t.Errorf("doubts add up: %s", r.Encode())
	}
	if kept := r.Released(false, t0); kept.Doubt != 36 || kept.Owner != "" || kept.Phase != Evacuating {
		t.Errorf("a release says nothing of an earlier owner's requests: %s", kept.Encode())
	}
	if r = r.Released(true, t0); r.Doubt != 0 {
		t.Errorf("%s", r.Encode())
	}
}

func TestAHostThatIsBackReturnsOnceItIsEvacuated(t *testing.T) {
	r := NewlyFenced("h", "", t0).Claimed("ctl1", 0, 0, t0)
	r, changed := r.Seen(BackOn, t0)
	if !changed || r.Phase != Evacuating {
		t.Errorf("%s", r.Encode())
	}
	if again, changed := r.Seen(BackOn, t0.Add(time.Hour)); changed {
		t.Errorf("said twice: %s", again.Encode())
	}
	if r = r.Settled(t0); r.Phase != Returning || r.Owner != "" {
		t.Errorf("%s", r.Encode())
	}
}

func TestSignsOfAHostOnlyGrow(t *testing.T) {
	r := NewlyFenced("h", "", t0)
	for _, c := range []struct {
		seen, want Back
		changed    bool
	}{
		{NotBack, NotBack, false}, {BackOn, BackOn, true}, {BackOn, BackOn, false},
		{BackRunning, BackRunning, true}, {BackOn, BackRunning, false}, {NotBack, BackRunning, false},
	} {
		next, changed := r.Seen(c.seen, t0)
		if r = next; r.Back != c.want || changed != c.changed {
			t.Errorf("%q seen: %q, changed %v", c.seen, r.Back, changed)
		}
	}
	if r, _ = r.FencedAgain("", t0.Add(time.Second)); r.Back != NotBack {
		t.Errorf("fenced again: %s", r.Encode())
	}
}

func TestResumedEndsWhenTheHostIsSeenOn(t *testing.T) {
	resumed := NewlyFenced("h", "", t0).Held(Resumed, Wait{}, t0)
	if resumed.Overruled() {
		t.Error("resumed while the host was off: that is the guard overruled, not the danger")
	}
	on, _ := resumed.Seen(BackOn, t0)
	if on.Hold != "" || on.Overruled() {
		t.Errorf("the host came on after the word: %s", on.Encode())
	}
	if again := on.Held(HeldBySource, Wait{}, t0).Held(Resumed, Wait{}, t0); !again.Overruled() || again.OnHold() {
		t.Errorf("resumed although the host is on: %s", again.Encode())
	}
	if held := on.Held(HeldBySource, Wait{}, t0); held.OnHold() || held.Settled(t0).Hold != "" {
		t.Errorf("held by its source is carried, and over when nothing is left: %s", held.Encode())
	}
}

func TestAHostIsFencedAgainOnceByItself(t *testing.T) {
	r, may := NewlyFenced("h", "", t0).Refencing(BackOn, t0)
	if !may || r.Refenced != 1 || r.Back != BackOn {
		t.Fatalf("%s", r.Encode())
	}
	if _, may = r.Refencing(BackRunning, t0); !may {
		t.Error("a fencing that failed may be tried again")
	}
	if r, _ = r.FencedAgain("", t0.Add(time.Second)); r.Gen != 2 || r.Refenced != 1 {
		t.Fatalf("%s", r.Encode())
	}
	if _, may = r.Refencing(BackOn, t0); may {
		t.Error("on again after that: an operator's to decide")
	}
}

func TestAReasonIsAWitness(t *testing.T) {
	full := NewlyFenced("h", "", t0).Claimed("ctl1", 0, 0, t0).Witness()
	for text, want := range map[string]struct {
		witness Witness
		ours    bool
	}{
		full.Reason():                           {full, true},
		Witness{Gen: 7, Since: t0}.Reason():     {Witness{Gen: 7, Since: t0}, true},
		"nova-evac":                             {Witness{}, true},
		"nova-evac: gen=3 is what I left here":  {Witness{}, true},
		"disk being replaced":                   {Witness{}, false},
		"":                                      {Witness{}, false},
		"nova-evac gen=x since=then claim=a/b:": {Witness{Claim: "a/b:"}, true},
	} {
		if witness, ours := ParseReason(text); witness != want.witness || ours != want.ours {
			t.Errorf("%q: %+v %v", text, witness, ours)
		}
	}
	for _, node := range []string{"", "node-1", strings.Repeat("n", 200)} {
		w := Witness{Gen: 1 << 30, Since: t0, Claim: strings.Repeat("n", 64) + "/mmmmmmmmm", Node: node}
		if n := len(w.Reason()); n > 255 {
			t.Errorf("%d characters: Nova takes 255", n)
		}
		if len(node) > 100 {
			w.Node = "" // there is no room for it
		}
		if read, _ := ParseReason(w.Reason()); read != w {
			t.Errorf("read back: %+v", read)
		}
	}
}

func TestALaterWitnessCorrectsARecord(t *testing.T) {
	r := NewlyFenced("h", "n", t0).Claimed("ctl1", 0, 0, t0)
	found := Witness{Gen: 3, Since: t0.Add(time.Hour), Claim: "ctl2/x", Node: "n"}
	got := r.Corrected(found, 20, t0.Add(2*time.Hour))
	if got.Witness() != found || got.Owner != "" || got.Phase != Fenced || got.Doubt != 20 || got.Node != "n" {
		t.Errorf("%s", got.Encode())
	}
	nameless := r
	nameless.Node = ""
	if got := nameless.Corrected(found, 0, t0); got.Node != "n" {
		t.Errorf("the node that Nova names is lost: %s", got.Encode())
	}
	found.Gen, found.Since = 1, t0
	if got := r.Corrected(found, 20, t0); got.Gen != 1 || got.Phase != Evacuating || got.Claim != "ctl2/x" || got.Owner != "" || !got.Since.Equal(t0) {
		t.Errorf("%s", got.Encode())
	}
	if got := Recovered("h", found, t0); got.Witness() != found || got.NodeName() != "n" || got.Phase != Fenced || got.Doubt < 10000 {
		t.Errorf("%s", got.Encode())
	}
}

func TestAHoldOutlivesAFencingOnlyIfAnOperatorMadeIt(t *testing.T) {
	r := NewlyFenced("h", "", t0)
	for by, want := range map[Hold]Hold{HeldByGuard: "", Resumed: "", HeldByOperator: HeldByOperator} {
		if next := r.Held(by, WaitFor("why"), t0).NextGeneration("", t0.Add(time.Hour)); next.Hold != want {
			t.Errorf("held by %q: %s", by, next.Encode())
		}
	}
	held := r.Claimed("ctl1", 0, 0, t0).Held(HeldByOperator, WaitFor("disks are looked at"), t0).Released(true, t0)
	if !held.OnHold() || held.Owner != "" || held.Wait != WaitFor("disks are looked at") {
		t.Errorf("%s", held.Encode())
	}
}

func TestHostNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"compute-1": true, "compute-1.example.org": true, "C_1": true,
		"": false, "a b": false, "x'y": false, "<x>": false, "../etc": false, strings.Repeat("a", 254): false,
	} {
		if err := CheckHost(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(NewlyFenced("h", "n", t0).Encode())
	f.Add("phase=evacuating gen=1 since=2026-03-01T03:00:00Z waiting_for=a=b \"c\"")
	f.Fuzz(func(t *testing.T, value string) {
		r, err := Parse("h", value)
		if err != nil {
			return
		}
		again, err := Parse("h", r.Encode())
		if err != nil {
			t.Fatalf("%q was parsed, its encoding %q is refused: %v", value, r.Encode(), err)
		}
		if diff := cmp.Diff(r, again, cmpopts.EquateComparable(Wait{})); diff != "" {
			t.Fatal(diff)
		}
	})
}
