package ownership

import (
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/record"
)

var t0 = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

const unseen = 10

// gen is the witness of a generation under a claim. Generations are a minute apart.
func gen(n int, claim string) record.Witness {
	return record.Witness{Gen: n, Since: t0.Add(time.Duration(n) * time.Minute), Claim: claim}
}

// stored is a record that stands in the store.
func stored(w record.Witness, owner string, change ...func(*record.Record)) Stored {
	r := record.Record{Host: "compute-1", Phase: record.Evacuating, Gen: w.Gen, Since: w.Since, Claim: w.Claim, Owner: owner}
	for _, c := range change {
		c(&r)
	}
	return Stored{State: Present, Record: r}
}

func phase(p record.Phase) func(*record.Record) { return func(r *record.Record) { r.Phase = p } }
func hold(h record.Hold) func(*record.Record)   { return func(r *record.Record) { r.Hold = h } }
func failed(n int) func(*record.Record)         { return func(r *record.Record) { r.Failed = n } }

// mine is ctl1, without a claim.
var mine = Mine{Owner: "ctl1", Unseen: unseen}

// held is ctl1 with the claim ctl1/b of generation 2, before which ctl3/a stood.
func held(change ...func(*Claim)) Mine {
	m := mine
	m.Claim = &Claim{Witness: gen(2, "ctl1/b"), Prior: "ctl3/a"}
	for _, c := range change {
		c(m.Claim)
	}
	return m
}

func deleting(c *Claim)   { c.Deleting = true }
func releasing(c *Claim)  { c.Releasing = true }
func readBack(c *Claim)   { c.ReadBack = true }
func compared(c *Claim)   { c.Compared = true }
func unanswered(c *Claim) { c.Unanswered = true }

func TestAClaimAndTheRecordInTheStore(t *testing.T) {
	for _, c := range []struct {
		name   string
		mine   Mine
		stored Stored
		want   Verdict
	}{
		{"nobody has looked", held(), Stored{}, Verdict{}},
		{"it stands as it was claimed", held(), stored(gen(2, "ctl1/b"), "ctl1"), Verdict{}},
		{"it is no record", held(), Stored{State: Malformed}, Verdict{}},
		{"it is gone", held(), Stored{State: Absent}, Verdict{Action: Restore, Reason: LostRecord}},
		{"it is gone, and was to be", held(deleting), Stored{State: Absent}, Verdict{}},
		{"it went back a generation", held(), stored(gen(1, "ctl1/a"), "ctl1"), Verdict{Action: Restore, Reason: LostRecord}},
		{"it went back a generation, of another owner", held(), stored(gen(1, "ctl2/a"), "ctl2"), Verdict{Action: Restore, Reason: LostRecord}},
		{"it went back a generation, which was evacuated", held(), stored(gen(1, "ctl2/a"), "", phase(record.Evacuated)), Verdict{Action: Restore, Reason: LostRecord}},
		{"it has lost its owner", held(), stored(gen(2, "ctl3/a"), ""), Verdict{Action: Restore, Reason: LostRecord}},
		{"it has lost its owner, and is fenced", held(), stored(gen(2, ""), "", phase(record.Fenced)), Verdict{Action: Restore, Reason: LostRecord}},
		{"its owner has just given it back", held(releasing), stored(gen(2, "ctl1/b"), "", phase(record.Fenced), hold(record.HeldByGuard)), Verdict{Action: Yield, Reason: OtherOwner}},
		{"its owner is about to give it back", held(releasing), stored(gen(2, "ctl1/b"), "ctl1"), Verdict{}},
		{"it went back to an earlier claim of the same owner", held(), stored(gen(2, "ctl1/a"), "ctl1"), Verdict{Action: Restore, Reason: LostRecord}},
		{"it has another owner", held(), stored(gen(2, "ctl2/c"), "ctl2"), Verdict{Action: Yield, Reason: OtherOwner}},
		{"it has another owner, and is held", held(), stored(gen(2, "ctl2/c"), "ctl2", hold(record.HeldByOperator)), Verdict{Action: Yield, Reason: OtherOwner}},
		{"somebody else has finished it", held(), stored(gen(2, "ctl2/c"), "", phase(record.Evacuated)), Verdict{Action: Yield, Reason: OtherOwner}},
		{"the host was fenced again", held(), stored(gen(3, "ctl1/b"), "ctl1", phase(record.Fenced)), Verdict{Action: Yield, Reason: FencedAgain}},
		{"the host was fenced again, and is held", held(), stored(gen(3, "ctl1/b"), "ctl1", hold(record.HeldByOperator)), Verdict{Action: Yield, Reason: FencedAgain}},
		{"the host was fenced again, and claimed by another", held(), stored(gen(3, "ctl2/c"), "ctl2"), Verdict{Action: Yield, Reason: OtherOwner}},
		{"the host was fenced again, and has no owner", held(), stored(gen(3, ""), "", phase(record.Fenced)), Verdict{Action: Yield, Reason: OtherOwner}},
		{"an operator holds it", held(), stored(gen(2, "ctl1/b"), "ctl1", hold(record.HeldByOperator)), Verdict{Action: Yield, Reason: OnHold}},
		{"the guard holds it", held(), stored(gen(2, "ctl1/b"), "ctl1", hold(record.HeldByGuard)), Verdict{Action: Yield, Reason: OnHold}},
		{"its source holds it, and it is followed", held(), stored(gen(2, "ctl1/b"), "ctl1", hold(record.HeldBySource)), Verdict{}},
		{"an operator has resumed it", held(), stored(gen(2, "ctl1/b"), "ctl1", hold(record.Resumed)), Verdict{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Reconcile(c.mine, c.stored, nil, nil); got != c.want {
				t.Errorf("%+v, expected %+v", got, c.want)
			}
		})
	}
}

func TestAClaimAndTheOneThatNovaNames(t *testing.T) {
	later := Verdict{Action: Correct, Reason: LaterInNova, Doubt: unseen}
	unknown := Verdict{Action: Keep, Reason: UnknownClaim, Doubt: unseen}
	for _, c := range []struct {
		name    string
		mine    Mine
		witness record.Witness
		want    Verdict
	}{
		{"the same", held(readBack, compared), gen(2, "ctl1/b"), Verdict{}},
		{"none yet: the hook wrote it", held(), gen(2, ""), Verdict{}},
		{"the one before", held(), gen(2, "ctl3/a"), Verdict{}},
		{"one of an earlier fencing", held(readBack), gen(1, "ctl2/c"), Verdict{}},
		{"an operator's words", held(readBack), record.Witness{}, Verdict{}},
		{"one that the record has lost", held(), gen(2, "ctl2/c"), unknown},
		{"one that the record has lost, with settings of its own", held(), gen(2, "ctl2/c/80"), Verdict{Action: Keep, Reason: UnknownClaim, Doubt: 80}},
		{"another one after ours, with settings of its own", held(compared, readBack), gen(2, "ctl2/c/80"), Verdict{Action: Correct, Reason: LaterInNova, Doubt: 80}},
		{"one that the record has lost, and that was counted", held(compared), gen(2, "ctl2/c"), Verdict{}},
		{"another one after ours", held(compared, readBack), gen(2, "ctl2/c"), later},
		{"the one before, after ours", held(compared, readBack), gen(2, "ctl3/a"), later},
		{"a later fencing", held(), gen(3, ""), later},
		{"a later fencing, with requests that are unanswered", held(unanswered), gen(3, "ctl2/c"), Verdict{Action: Correct, Reason: LaterInNova, Doubt: 2 * unseen}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Reconcile(c.mine, Stored{}, &c.witness, nil); got != c.want {
				t.Errorf("%+v, expected %+v", got, c.want)
			}
		})
	}
	t.Run("the record in the store goes first", func(t *testing.T) {
		w := gen(3, "")
		if got := Reconcile(held(), Stored{State: Absent}, &w, nil); got.Action != Restore {
			t.Errorf("%+v", got)
		}
	})
}

func TestWithoutAClaimNovaMayKnowBetterThanTheRecord(t *testing.T) {
	for _, c := range []struct {
		name    string
		stored  Stored
		witness record.Witness
		want    Verdict
	}{
		{"the record is gone", Stored{State: Absent}, gen(2, "ctl2/a"), Verdict{Action: Restore, Reason: LostRecord}},
		{"it is no record", Stored{State: Malformed}, gen(2, "ctl2/a"), Verdict{}},
		{"it went back a generation", stored(gen(1, "ctl2/a"), "ctl2"), gen(2, "ctl3/a"), Verdict{Action: Correct, Reason: LaterInNova, Doubt: unseen}},
		{"it went back a generation, which was evacuated", stored(gen(1, "ctl2/a"), "", phase(record.Evacuated)), gen(2, ""), Verdict{Action: Correct, Reason: LaterInNova, Doubt: unseen}},
		{"it is of the same fencing", stored(gen(2, "ctl2/a"), "ctl2"), gen(2, "ctl3/a"), Verdict{}},
		{"it is of a later fencing", stored(gen(3, ""), ""), gen(2, "ctl3/a"), Verdict{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Reconcile(mine, c.stored, &c.witness, nil); got != c.want {
				t.Errorf("%+v, expected %+v", got, c.want)
			}
		})
	}
}

// views are what the cluster can say of ctl2.
var views = map[cluster.OwnerState]cluster.View{
	cluster.OwnerNodeUnknown:  {Nodes: map[string]cluster.Node{}},
	cluster.OwnerNodeUnfenced: {Nodes: map[string]cluster.Node{"ctl2": {Unclean: true}}},
	cluster.OwnerNodeUnsure:   {Nodes: map[string]cluster.Node{"ctl2": {Online: true, Pending: true}}},
	cluster.OwnerRuns:         {Nodes: map[string]cluster.Node{"ctl2": {Online: true}}, Supervisors: map[string]bool{"ctl2": true}},
	cluster.OwnerNodeGone:     {Nodes: map[string]cluster.Node{"ctl2": {}}},
	cluster.OwnerStopped:      {Nodes: map[string]cluster.Node{"ctl2": {Online: true}}},
}

func TestWithoutAClaimARecordIsTakenOver(t *testing.T) {
	released := stored(gen(1, "ctl2/a"), "")
	owned := stored(gen(1, "ctl2/a"), "ctl2", failed(3))
	shell := stored(gen(1, "shell@ctl1/a"), "shell@ctl1")
	shellGone := mine
	shellGone.ShellGone = true
	runs := views[cluster.OwnerRuns]
	runs.Nodes = map[string]cluster.Node{"ctl1": {Online: true}, "ctl2": {Online: true}}
	for _, c := range []struct {
		name   string
		mine   Mine
		stored Stored
		view   cluster.View
		want   Verdict
	}{
		{"nobody carries it", mine, released, runs, Verdict{Action: TakeOver, Reason: NoOwner}},
		{"its source holds it", mine, stored(gen(1, ""), "", hold(record.HeldBySource)), runs, Verdict{Action: TakeOver, Reason: NoOwner}},
		{"an operator holds it", mine, stored(gen(1, ""), "", hold(record.HeldByOperator)), runs, Verdict{Action: Keep, Reason: OnHold}},
		{"the guard holds it, and its owner is dead", mine, stored(gen(1, ""), "ctl2", hold(record.HeldByGuard)), views[cluster.OwnerNodeGone], Verdict{Action: Keep, Reason: OnHold}},
		{"it was held, and is evacuated", mine, stored(gen(1, ""), "", phase(record.Evacuated), hold(record.HeldByOperator)), runs, Verdict{Action: TakeOver, Reason: NoOwner}},
		{"it is our own from before", mine, stored(gen(1, "ctl1/a"), "ctl1", failed(2)), runs, Verdict{Action: TakeOver, Reason: Predecessor, Doubt: unseen + 2}},
		{"it is that of a dead shell here", shellGone, shell, runs, Verdict{Action: TakeOver, Reason: DeadShell, Doubt: unseen}},
		{"it is that of a shell here of which nobody knows", mine, shell, runs, Verdict{Action: Keep, Reason: OwnerState, Owner: cluster.OwnerInShell}},
		{"it is that of a shell elsewhere", shellGone, stored(gen(1, ""), "shell@ctl2"), runs, Verdict{Action: Keep, Reason: OwnerState, Owner: cluster.OwnerInShell}},
		{"its owner's node is fenced", mine, owned, views[cluster.OwnerNodeGone], Verdict{Action: TakeOver, Reason: OwnerState, Owner: cluster.OwnerNodeGone, Doubt: unseen + 3}},
		{"its owner's node has no supervisor", mine, owned, views[cluster.OwnerStopped], Verdict{Action: TakeOver, Reason: OwnerState, Owner: cluster.OwnerStopped, Doubt: unseen + 3}},
		{"its owner's node is not fenced", mine, owned, views[cluster.OwnerNodeUnfenced], Verdict{Action: Keep, Reason: OwnerState, Owner: cluster.OwnerNodeUnfenced}},
		{"its owner's node is joining", mine, owned, views[cluster.OwnerNodeUnsure], Verdict{Action: Keep, Reason: OwnerState, Owner: cluster.OwnerNodeUnsure}},
		{"its owner's node is unknown", mine, owned, views[cluster.OwnerNodeUnknown], Verdict{Action: Keep, Reason: OwnerState, Owner: cluster.OwnerNodeUnknown}},
		{"its owner runs", mine, owned, runs, Verdict{Action: Keep, Reason: OwnerState, Owner: cluster.OwnerRuns}},
		{"it is no record", mine, Stored{State: Malformed}, runs, Verdict{}},
		{"it is gone", mine, Stored{State: Absent}, runs, Verdict{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Reconcile(c.mine, c.stored, nil, &c.view); got != c.want {
				t.Errorf("%+v, expected %+v", got, c.want)
			}
		})
	}
	t.Run("nobody has asked the cluster", func(t *testing.T) {
		if got := Reconcile(mine, released, nil, nil); got != (Verdict{}) {
			t.Errorf("%+v", got)
		}
	})
}

// Two owners at once do harm, so that this holds whatever else is the case.
func TestNothingIsTakenOverFromAnOwnerThatMayAct(t *testing.T) {
	for state, view := range views {
		for _, p := range []record.Phase{record.Fenced, record.Evacuating, record.Evacuated, record.Returning} {
			for _, h := range []record.Hold{"", record.HeldByGuard, record.HeldByOperator, record.HeldBySource, record.Resumed} {
				for _, w := range []*record.Witness{nil, {Gen: 1}, {Gen: 1, Since: t0}} {
					got := Reconcile(mine, stored(gen(1, "ctl2/a"), "ctl2", phase(p), hold(h)), w, &view)
					if got.Action == TakeOver && (!state.Gone() || got.Doubt < unseen) {
						t.Errorf("%s hold=%s, the owner's state is %d: %+v", p, h, state, got)
					}
				}
			}
		}
	}
}

func TestTheLastWordIsTheOwners(t *testing.T) {
	for _, c := range []struct {
		name   string
		stored Stored
		which  Generation
		may    bool
	}{
		{"as it was claimed", stored(gen(2, "ctl1/b"), "ctl1"), SameGeneration, true},
		{"it went back in time", stored(gen(1, "ctl1/a"), "ctl1"), SameGeneration, true},
		{"it is held", stored(gen(2, "ctl1/b"), "ctl1", hold(record.HeldByOperator)), SameGeneration, true},
		{"fenced again", stored(gen(3, "ctl1/b"), "ctl1"), SameGeneration, false},
		{"fenced again, and that is known", stored(gen(3, "ctl1/b"), "ctl1"), AnyGeneration, true},
		{"another owner", stored(gen(2, "ctl2/c"), "ctl2"), AnyGeneration, false},
		{"no owner", stored(gen(2, "ctl1/b"), ""), AnyGeneration, false},
		{"gone", Stored{State: Absent}, AnyGeneration, false},
		{"no record", Stored{State: Malformed}, AnyGeneration, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := held().MayWrite(c.stored, c.which); got != c.may {
				t.Errorf("%v", got)
			}
		})
	}
}

func TestAVerdictIsExplained(t *testing.T) {
	for v, want := range map[Verdict]string{
		{Reason: NoOwner}:     "nobody carries it",
		{Reason: Predecessor}: "its owner was the supervisor here before this one",
		{Reason: DeadShell}:   "the nova-evac in a shell on this node is gone",
		{Reason: OwnerState, Owner: cluster.OwnerNodeGone}: "its node is offline and clean",
		{Reason: OwnerState, Owner: cluster.OwnerRuns}:     "its supervisor runs",
		{Action: Restore, Reason: LostRecord}:              "",
	} {
		if got := v.Explain("ctl2"); got != want {
			t.Errorf("%+v: %s", v, got)
		}
	}
}
