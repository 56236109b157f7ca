package record

import (
	"testing"
	"time"
)

func TestTwoRecordsOfOneHostBecomeOneThatLosesNothing(t *testing.T) {
	now := t0.Add(time.Hour)
	at := func(host string, minute int) Record {
		return NewlyFenced(host, "", t0.Add(time.Duration(minute)*time.Minute))
	}
	doubting := func(r Record, doubt int) Record { r.Doubt = doubt; return r }
	back := func(r Record, b Back) Record { r, _ = r.Seen(b, now); return r }
	owned := at("a", 0).Claimed("ctl1", 0, 0, t0)
	for _, c := range []struct {
		name     string
		r, other Record
		phase    Phase
		anew     bool // whoever carries it starts over
		doubt    int
		back     Back
		hold     Hold
	}{
		{"the other is of before", at("a", 2), at("b", 0), Fenced, false, 0, NotBack, ""},
		{"the other is of a later fencing", at("a", 0), at("b", 2), Fenced, true, 0, NotBack, ""},
		{"one that is at work starts over", owned, at("b", 2), Fenced, true, 0, NotBack, ""},
		{"one that is at work goes on where nothing is new", owned, at("b", -2), Evacuating, false, 0, NotBack, ""},
		{"doubt adds up", doubting(at("a", 2), 3), doubting(at("b", 0), 4), Fenced, true, 7, NotBack, ""},
		{"one that is evacuated is looked at again", at("a", 2).Settled(now), at("b", 0), Fenced, true, 0, NotBack, ""},
		{"both are evacuated", at("a", 2).Settled(now), at("b", 0).Settled(now), Evacuated, false, 0, NotBack, ""},
		{"the other was evacuated later", at("a", 0), at("b", 2).Settled(now), Fenced, true, 0, NotBack, ""},
		{"it was seen on since the later fencing, under the other name", at("a", 1), back(at("b", 0), BackRunning), Fenced, false, 0, BackRunning, ""},
		{"it was seen on before the later fencing", at("a", 70), back(at("b", 0), BackRunning), Fenced, false, 0, NotBack, ""},
		{"it was seen on since the later fencing", at("a", 0), back(at("b", 5), BackOn), Fenced, true, 0, BackOn, ""},
		{"both are evacuated, and it is on", at("a", 0).Settled(now), back(at("b", 0).Settled(now), BackOn), Returning, false, 0, BackOn, ""},
		{"an operator holds one of them", at("a", 0), at("b", 2).Held(HeldByOperator, Wait{}, now), Fenced, true, 0, NotBack, HeldByOperator},
		{"its name is known now", at("a", 0).Held(HeldByName, Wait{}, now), at("b", -2), Fenced, false, 0, NotBack, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := c.r.Merged(c.other, "node", now)
			if got.Host != c.r.Host || got.Node != "node" || got.Owner != c.r.Owner {
				t.Errorf("%s: %+v", got.Host, got)
			}
			if got.Phase != c.phase || got.Doubt != c.doubt || got.Back != c.back || got.Hold != c.hold {
				t.Errorf("%s", got.Encode())
			}
			if got.Witness().Later(c.r.Witness()) != c.anew || c.other.Witness().Later(got.Witness()) {
				t.Errorf("of %s and %s: %s", c.r.Since, c.other.Since, got.Since)
			}
			if c.anew && got.Gen <= max(c.r.Gen, c.other.Gen) {
				t.Errorf("generation %d", got.Gen)
			}
			if again, err := Parse(got.Host, got.Encode()); err != nil || again != got {
				t.Errorf("read back: %+v, %v", again, err)
			}
		})
	}
}

func TestAHostThatWasFencedAgainUnderOneNameIsNotUnderTheOther(t *testing.T) {
	r, other := NewlyFenced("a", "", t0), NewlyFenced("b", "", t0.Add(time.Minute))
	other.Refenced = 1
	if _, may := r.Merged(other, "", t0).Refencing(BackOn, t0); may {
		t.Error("it may be fenced again and again")
	}
}
