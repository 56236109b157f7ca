// Package ownership decides who carries the evacuation of a host, and what is to be done
// where the record, Nova and the cluster do not agree about it.
//
// Reconcile is a pure function. Its caller reads the record, Nova's service record
// and the cluster, and carries out the verdict. Nothing else judges who owns a host.
package ownership

import (
	"github.com/nova-evac/nova-evac/pkg/cluster"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// Mine is the supervisor that asks, and its claim on the host.
type Mine struct {
	// Owner is the name under which the supervisor claims records.
	Owner string
	// ShellGone is true where the record's owner is a shell on the supervisor's own node, and
	// that shell is known to be dead.
	ShellGone bool
	// Unseen is how many of this supervisor's own requests may be under way without Nova showing
	// them. Of another owner its claim says that, for its settings may be others.
	Unseen int
	// Claim is the claim that the supervisor holds on the host; nil: it holds none.
	Claim *Claim
}

// Claim is a claim that is held.
type Claim struct {
	// Witness is what Nova should say of the claimed record.
	Witness record.Witness
	// Prior is the claim that stood in the record before this one.
	Prior string
	// Deleting is true once the holder has set out to delete the record.
	Deleting bool
	// Releasing is true once the holder has set out to give the claim back.
	Releasing bool
	// ReadBack is true once Nova was seen to name this claim.
	ReadBack bool
	// Compared is true once the claim was compared with the one in Nova.
	Compared bool
	// Unanswered is true where requests that were sent under this claim have no answer.
	Unanswered bool
}

// State says what was found where a record should be.
type State int

const (
	// Unread: nobody has looked.
	Unread State = iota
	// Absent: there is no record of the host.
	Absent
	// Malformed: the value that stands there is no record.
	Malformed
	// Present: there is a record.
	Present
)

// Stored is the record as it stands in the store.
type Stored struct {
	State  State
	Record record.Record
}

// Action is what has to be done.
type Action int

const (
	// Keep: all stays as it is. Where Verdict.Doubt is not 0, a claim is kept of which Nova
	// shows that it came after one that the record has lost.
	Keep Action = iota
	// Restore: the record has lost something, and is written again: from the claim that is
	// held, or, where none is, from what Nova says.
	Restore
	// Yield: the claim is given up.
	Yield
	// Correct: Nova knows of a later claim or fencing than the record, which is put right.
	Correct
	// TakeOver: the record may be claimed.
	TakeOver
)

// Reason says why.
type Reason int

const (
	// NoReason: nothing is amiss.
	NoReason Reason = iota
	// LostRecord: the record is gone, or has gone back in time.
	LostRecord
	// OtherOwner: the record has another owner now.
	OtherOwner
	// FencedAgain: the host was fenced again.
	FencedAgain
	// OnHold: the host is held.
	OnHold
	// LaterInNova: Nova knows of a later fencing, or names another claim.
	LaterInNova
	// UnknownClaim: Nova names a claim that the record has lost, and that ended before ours.
	UnknownClaim
	// NoOwner: nobody carries the host.
	NoOwner
	// Predecessor: the owner was the supervisor here before this one.
	Predecessor
	// DeadShell: the owner was a shell on this node, which is dead.
	DeadShell
	// OwnerState: what the cluster says of the owner, see Verdict.Owner.
	OwnerState
)

// Verdict is what Reconcile says.
type Verdict struct {
	Action Action
	Reason Reason
	// Owner is what the cluster says of the record's owner, where Reason is OwnerState.
	Owner cluster.OwnerState
	// Doubt is how many more instances may have been sent unseen.
	Doubt int
}

// Explain says why a host is taken over or not. owner is the one in its record.
func (v Verdict) Explain(owner string) string {
	switch v.Reason {
	case NoOwner:
		return "nobody carries it"
	case Predecessor:
		return "its owner was the supervisor here before this one"
	case DeadShell:
		return "the nova-evac in a shell on this node is gone"
	case OwnerState:
		return v.Owner.Explain(owner)
	}
	return ""
}

// Reconcile compares what a supervisor knows of a host with the record in the store, with
// the witness in Nova and with the cluster, and says what follows. stored may be unread;
// witness and view are nil where nobody has asked, witness also where Nova has none.
func Reconcile(mine Mine, stored Stored, witness *record.Witness, view *cluster.View) Verdict {
	if mine.Claim == nil {
		return mine.withoutClaim(stored, witness, view)
	}
	if v := mine.compareStored(stored); v != (Verdict{}) {
		return v
	}
	return mine.compareWitness(witness)
}

// unseenOf is how many requests may be under way unseen that were sent under a claim. One that
// does not say it is an older version's, which had the settings of today.
func (m Mine) unseenOf(claim string) int {
	if n, says := record.ClaimUnseen(claim); says {
		return n
	}
	return m.Unseen
}

// compareStored judges the claim that is held by the record in the store.
func (m Mine) compareStored(stored Stored) Verdict {
	r, claim := stored.Record, m.Claim
	switch {
	case stored.State == Absent && !claim.Deleting:
		return Verdict{Action: Restore, Reason: LostRecord}
	case stored.State != Present:
		// After an edit by hand that went wrong the holder's next write fails, and says so.
		return Verdict{}
	case claim.Witness.Later(r.Witness()):
		return Verdict{Action: Restore, Reason: LostRecord}
	case r.Witness().Later(claim.Witness) && r.Owner == m.Owner:
		return Verdict{Action: Yield, Reason: FencedAgain}
	case r.Witness().Later(claim.Witness):
		return Verdict{Action: Yield, Reason: OtherOwner}
	}
	return m.compareGeneration(r)
}

// compareGeneration judges the claim by a record of the generation that was claimed.
func (m Mine) compareGeneration(r record.Record) Verdict {
	switch {
	case r.Owner == "" && r.Unfinished() && !m.Claim.Releasing:
		// Nobody else takes the name of an owner off its record.
		return Verdict{Action: Restore, Reason: LostRecord}
	case r.Owner != m.Owner:
		return Verdict{Action: Yield, Reason: OtherOwner}
	case r.OnHold():
		return Verdict{Action: Yield, Reason: OnHold}
	case r.Claim != m.Claim.Witness.Claim:
		// It is a claim of ours from before; the ones after it are lost.
		return Verdict{Action: Restore, Reason: LostRecord}
	}
	return Verdict{}
}

// compareWitness judges the claim that is held by the one that Nova names.
func (m Mine) compareWitness(witness *record.Witness) Verdict {
	claim := m.Claim
	if witness == nil || claim.Witness.Later(*witness) {
		return Verdict{}
	}
	other := witness.Claim != "" && witness.Claim != claim.Witness.Claim
	switch {
	case witness.Later(claim.Witness), other && claim.ReadBack:
		doubt := m.unseenOf(witness.Claim)
		if claim.Unanswered {
			doubt += m.Unseen
		}
		return Verdict{Action: Correct, Reason: LaterInNova, Doubt: doubt}
	case other && !claim.Compared && witness.Claim != claim.Prior:
		return Verdict{Action: Keep, Reason: UnknownClaim, Doubt: m.unseenOf(witness.Claim)}
	}
	return Verdict{}
}

// withoutClaim judges a host on which the supervisor has no claim.
func (m Mine) withoutClaim(stored Stored, witness *record.Witness, view *cluster.View) Verdict {
	switch {
	case witness != nil && stored.State == Absent:
		return Verdict{Action: Restore, Reason: LostRecord}
	case stored.State != Present:
		return Verdict{}
	case witness != nil && witness.Later(stored.Record.Witness()):
		return Verdict{Action: Correct, Reason: LaterInNova, Doubt: m.unseenOf(witness.Claim)}
	case view == nil:
		return Verdict{}
	case stored.Record.OnHold() && stored.Record.Unfinished():
		return Verdict{Action: Keep, Reason: OnHold}
	}
	return m.compareOwner(stored.Record, *view)
}

// compareOwner answers whether the record may be claimed.
func (m Mine) compareOwner(r record.Record, view cluster.View) Verdict {
	// An owner that did not release its claim may have sent what Nova does not show, and
	// failed instances are sent out of the order.
	doubt := m.unseenOf(r.Claim) + r.Failed
	node, shell := record.OwnerNode(r.Owner)
	here, _ := record.OwnerNode(m.Owner)
	switch {
	case r.Owner == "":
		return Verdict{Action: TakeOver, Reason: NoOwner}
	case r.Owner == m.Owner:
		return Verdict{Action: TakeOver, Reason: Predecessor, Doubt: doubt}
	case shell && node == here && m.ShellGone:
		return Verdict{Action: TakeOver, Reason: DeadShell, Doubt: doubt}
	}
	v := Verdict{Action: Keep, Reason: OwnerState, Owner: view.Owner(r.Owner)}
	if v.Owner.Gone() {
		v.Action, v.Doubt = TakeOver, doubt
	}
	return v
}

// Generation says of which generation of the record a holder's last word may be.
type Generation bool

const (
	// SameGeneration is the one that was claimed.
	SameGeneration Generation = false
	// AnyGeneration is that one, or a later one.
	AnyGeneration Generation = true
)

// MayWrite answers whether the holder of a claim may still change the record.
func (m Mine) MayWrite(stored Stored, which Generation) bool {
	if stored.State != Present || stored.Record.Owner != m.Owner {
		return false
	}
	return which == AnyGeneration || !stored.Record.Witness().Later(m.Claim.Witness)
}
