package record

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// SameFencing is how long after a fencing another `off` of a host that was not seen
// back is taken for a repetition. Pacemaker repeats a fencing up to ten times in a row
// when a device of the level fails. No compute host boots, takes up instances, fails
// and is fenced again in less.
const SameFencing = time.Minute

// NewlyFenced is the record of a host that was fenced and had none before.
func NewlyFenced(host, node string, now time.Time) Record {
	return Record{Host: host, Node: node, Phase: Fenced, Gen: 1, Since: now, Updated: now}
}

// FencedAgain is what the record becomes when the host was fenced (again). It
// returns false where that changes nothing: the call belongs to the fencing that the
// record is about. A later one is a new generation also while the evacuation of the
// one before is under way: the host may have been on in between, unseen, and what it
// took up then was lost again.
func (r Record) FencedAgain(node string, now time.Time) (Record, bool) {
	same := r.Back == NotBack && now.Sub(r.Since) < SameFencing
	switch {
	case same && r.Unfinished():
		return r, false
	case same && r.Phase == Evacuated:
		// Most likely the same fencing. Should it be another one, of a host that was on
		// again unseen, what has come to it meanwhile must not be missed: one more look.
		again := r.NextGeneration(node, now)
		again.Gen = r.Gen
		return again, true
	}
	return r.NextGeneration(node, now), true
}

// NextGeneration is the record of the host's next fencing.
func (r Record) NextGeneration(node string, now time.Time) Record {
	hold := r.Hold
	if hold != HeldByOperator {
		hold = "" // what was said of the fencing before is no word about this one
	}
	// A later generation begins later, whatever another controller's clock says: see Later.
	since := now
	if !since.After(r.Since) {
		since = r.Since.Add(time.Second)
	}
	return Record{Host: r.Host, Node: node, Phase: Fenced, Gen: r.Gen + 1, Since: since, Updated: now, Hold: hold,
		Refenced: r.Refenced,
		// An owner that is still at work keeps the host and the doubt about its
		// requests: dropping them here would let another one in beside it.
		Owner: r.Owner, Claim: r.Claim, Doubt: r.Doubt}
}

// Seen notes what was seen of the host's power. It returns false where that is known
// already. An operator's word to go on was about a host that was off, and is over.
func (r Record) Seen(back Back, now time.Time) (Record, bool) {
	if !back.Beyond(r.Back) {
		return r, false
	}
	r.Back, r.Updated = back, now
	if r.Phase == Evacuated {
		r.Phase = Returning
	}
	if r.Hold == Resumed {
		r.Hold = ""
	}
	return r, true
}

// Overruled answers whether an operator has the host evacuated although it is known to be
// on.
func (r Record) Overruled() bool { return r.Back != NotBack && r.Hold == Resumed }

// Refencing notes that the host is to be fenced again in this generation. It returns false
// where that was done once already, in an earlier one.
func (r Record) Refencing(back Back, now time.Time) (Record, bool) {
	if r.Refenced != 0 && r.Refenced != r.Gen {
		return r, false
	}
	r, _ = r.Seen(back, now)
	r.Refenced, r.Updated = r.Gen, now
	return r, true
}

// Claimed is the record with a new owner. Where the one before did not release
// it, inDoubt more instances may have been sent unseen.
func (r Record) Claimed(owner string, inDoubt int, now time.Time) Record {
	if r.Owner != "" {
		r.Doubt += inDoubt
	}
	r.Owner, r.Phase, r.Updated = owner, Evacuating, now
	// No owner claims one host twice within a millisecond.
	r.Claim = owner + "/" + strconv.FormatInt(now.UnixMilli(), 36)
	return r
}

// Corrected is the record of a host of which Nova knows a later claim, or a later
// fencing: it has no owner, and inDoubt more instances may have been sent.
func (r Record) Corrected(found Witness, inDoubt int, now time.Time) Record {
	if found.Later(r.Witness()) {
		r = r.NextGeneration(r.Node, now)
		r.Gen = found.Gen
		if !found.Since.IsZero() {
			r.Since = found.Since
		}
	}
	r.Owner, r.Claim, r.Updated = "", found.Claim, now
	r.Doubt += inDoubt
	r.Wait = "a supervisor to claim it"
	return r
}

// Recovered is the record of a host of which only Nova knows still. Anything may have
// been sent from it.
func Recovered(host string, found Witness, now time.Time) Record {
	r := NewlyFenced(host, "", now)
	r.Gen, r.Claim = max(found.Gen, 1), found.Claim
	if !found.Since.IsZero() {
		r.Since = found.Since
	}
	if found.Claim != "" {
		r.Doubt = everything
	}
	return r
}

// everything is more than the instances that a host can have.
const everything = 1 << 20

// Released is the record when its owner stops in good order before the end: each
// of its requests was answered. doubtOver says that those of an owner before it
// can no longer be under way either.
func (r Record) Released(doubtOver bool, now time.Time) Record {
	r.Owner, r.Updated = "", now
	if doubtOver {
		r.Doubt = 0
	}
	if !r.OnHold() {
		r.Wait = "a supervisor to claim it"
	}
	return r
}

// Settled is the record when nothing is left to evacuate.
func (r Record) Settled(now time.Time) Record {
	r.Phase, r.Owner, r.Doubt, r.Updated = Evacuated, "", 0, now
	if r.Hold == HeldBySource {
		r.Hold = ""
	}
	if r.Back != NotBack {
		r.Phase = Returning
	}
	return r
}

// Powering is the record of an evacuated host that owner has powered on.
func (r Record) Powering(owner string, now time.Time) Record {
	r.Owner, r.Updated = owner, now
	return r
}

// Returned is the record of an evacuated host whose return owner looks after.
func (r Record) Returned(owner string, now time.Time) Record {
	r, _ = r.Seen(BackOn, now)
	r.Phase, r.Owner, r.Updated, r.Wait = Returning, owner, now, ""
	return r
}

// Held is the record of a host whose evacuation is not to be carried; why says for what
// reason. Its owner, if it has one, releases it.
func (r Record) Held(by Hold, why string, now time.Time) Record {
	r.Hold, r.Wait, r.Updated = by, why, now
	return r
}

// HeldFor is the record of an evacuation that begins nothing more because its source may
// run, or does so no longer. What anybody else has said of it stands.
func (r Record) HeldFor(source bool) Record {
	switch {
	case source && r.Hold == "":
		r.Hold = HeldBySource
	case !source && r.Hold == HeldBySource:
		r.Hold = ""
	}
	return r
}

// OnHold answers whether the evacuation must not be carried now. One that is held by its
// source is carried: what was sent has to be followed.
func (r Record) OnHold() bool { return r.Hold == HeldByGuard || r.Hold == HeldByOperator }

// Unfinished says whether there is still something to evacuate.
func (r Record) Unfinished() bool { return r.Phase == Fenced || r.Phase == Evacuating }

// NodeName is the cluster's name of the host.
func (r Record) NodeName() string {
	if r.Node != "" {
		return r.Node
	}
	return r.Host
}

// shellPrefix marks an owner that is a nova-evac in an operator's shell.
const shellPrefix = "shell@"

// ShellOwner is the owner's name of a nova-evac that an operator runs on node.
func ShellOwner(node string) string { return shellPrefix + node }

// OwnerNode takes an owner apart: the node it is on, and whether it is a shell.
func OwnerNode(owner string) (node string, shell bool) {
	return strings.TrimPrefix(owner, shellPrefix), strings.HasPrefix(owner, shellPrefix)
}

// CheckHost refuses a name that cannot be a compute host's: it would end up in
// the CIB and in requests to Nova.
func CheckHost(host string) error {
	if host == "" || len(host) > 253 {
		return fmt.Errorf("host name %q: it must have 1 to 253 characters", host)
	}
	if host[0] == '-' { // Pacemaker's tools, which are given it, would take it for an option
		return fmt.Errorf("host name %q: it cannot begin with '-'", host)
	}
	for _, c := range host {
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-._", c)
		if !ok {
			return fmt.Errorf("host name %q: only letters, digits, '-', '_' and '.' can be in it", host)
		}
	}
	return nil
}

// ReasonPrefix begins every disabled_reason that nova-evac leaves in Nova: by it our
// own disable is told from an operator's.
const ReasonPrefix = "nova-evac"

// Witness is what of a record stands in Nova's service record of its host, as the
// disabled_reason: acknowledged writes to the CIB can be lost, when two partitions of
// a cluster merge, and from the two together it can be told that they were.
type Witness struct {
	// Gen and Since are those of the record.
	Gen   int
	Since time.Time
	// Claim is the last one under which anything was sent; empty: none was.
	Claim string
}

// Witness is what Nova should say of this record.
func (r Record) Witness() Witness { return Witness{r.Gen, r.Since, r.Claim} }

// Later answers whether a witness is about a later fencing than another one. The
// generations alone do not tell: they begin at 1 again after a host was let in.
func (w Witness) Later(than Witness) bool {
	if w.Since.IsZero() || than.Since.IsZero() {
		return w.Gen > than.Gen
	}
	return w.Since.Truncate(time.Second).After(than.Since.Truncate(time.Second))
}

// Reason is the witness as a disabled_reason.
func (w Witness) Reason() string {
	text := fmt.Sprintf("%s gen=%d since=%s", ReasonPrefix, w.Gen, w.Since.UTC().Format(timeFormat))
	if w.Claim != "" {
		text += " claim=" + w.Claim
	}
	return text + ": fenced, being evacuated"
}

// ParseReason reads a witness back from a disabled_reason; ours is false where
// somebody else disabled the service.
func ParseReason(reason string) (w Witness, ours bool) {
	text, ours := strings.CutPrefix(reason, ReasonPrefix)
	if !ours {
		return w, false
	}
	text, _, _ = strings.Cut(text, ": ")
	for field := range strings.FieldsSeq(text) {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "gen":
			w.Gen, _ = number(value) // 0 where an operator wrote something of his own
		case "since":
			w.Since, _ = time.Parse(timeFormat, value)
		case "claim":
			w.Claim = value
		}
	}
	return w, true
}
