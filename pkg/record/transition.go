package record

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// SameFencing is for how long after a fencing another `off` counts as a repetition, if
// the host was not seen back. Pacemaker repeats a fencing up to ten times in a row when a
// device of the level fails. No compute host boots, takes up instances, fails and is
// fenced again in less.
const SameFencing = time.Minute

// clocksAgree is how far apart the clocks of two controllers may be that agree.
const clocksAgree = 5 * time.Second

// Ahead is how far the clock that recorded the fencing is ahead of the one that now is by, 0
// where nothing shows that it is.
func (r Record) Ahead(now time.Time) time.Duration {
	if ahead := r.Since.Sub(now); ahead > clocksAgree {
		return ahead
	}
	return 0
}

// NewlyFenced is the record of a host that was fenced and had none before.
func NewlyFenced(host, node string, now time.Time) Record {
	return Record{Host: host, Node: node, Phase: Fenced, Gen: 1, Since: now, Updated: now}
}

// FencedAgain gives the record after another `off` of the host. It returns false where
// nothing changes: the call belongs to the fencing that the record is about. A later
// fencing is a new generation, even while the evacuation of the one before is under way:
// the host may have been on in between, unseen, and have lost again the instances that it
// took up then.
func (r Record) FencedAgain(node string, now time.Time) (Record, bool) {
	// A fencing that lies in the future was recorded by another clock, and says nothing.
	ago := now.Sub(r.Since)
	same := r.Back == NotBack && ago >= -clocksAgree && ago < SameFencing
	switch {
	case same && r.Unfinished():
		if r.Node != "" || node == "" || node == r.Host {
			return r, false
		}
		// It was recorded by somebody who did not know the cluster's name.
		r.Node, r.Updated = node, now
		return r, true
	case same && r.Phase == Evacuated:
		// Most likely this is the same fencing. If it is another one, of a host that was on
		// again unseen, instances that came to it must not be missed: one more look.
		again := r.NextGeneration(node, now)
		again.Gen = r.Gen
		return again, true
	}
	return r.NextGeneration(node, now), true
}

// FencedUnreadable gives the record after another `off` of a host whose record cannot be read
// whole. What can be read of it is kept: an owner may be at work, and whatever was claimed
// may have been sent.
func (r Record) FencedUnreadable(node string, now time.Time) Record {
	next := r.NextGeneration(node, now)
	if r.Owner != "" || r.Claim != "" {
		next.Doubt = everything
	}
	return next
}

// NextGeneration is the record of the host's next fencing.
func (r Record) NextGeneration(node string, now time.Time) Record {
	hold := r.Hold
	if hold != HeldByOperator {
		hold = "" // a hold of the fencing before does not apply to this one
	}
	// A later generation begins later, whatever another controller's clock says: see Later.
	since := now
	if !since.After(r.Since) {
		since = r.Since.Add(time.Second)
	}
	return Record{Host: r.Host, Node: node, Phase: Fenced, Gen: r.Gen + 1, Since: since, Updated: now, Hold: hold,
		Refenced: r.Refenced, Extra: r.Extra,
		// An owner that is still at work keeps the host and the doubt about its
		// requests: dropping them here would let another one in beside it.
		Owner: r.Owner, Claim: r.Claim, Doubt: r.Doubt}
}

// Merged gives the record with all that another one says of the same host, which was recorded
// under two names. node is the cluster's name of the host. Nothing of the other one is lost:
// its instances are looked for once more, its doubt adds up, and who carries r starts over
// where the other one was of a later fencing, or may have sent something.
func (r Record) Merged(other Record, node string, now time.Time) Record {
	later := other.Witness().Later(r.Witness())
	merged := r
	merged.Node, merged.Updated = node, now
	if later || other.Unfinished() && (other.Doubt > 0 || !r.Unfinished()) {
		merged = r.NextGeneration(node, now)
		merged.Gen = max(r.Gen, other.Gen) + 1
		// Later than both, so that an owner sees it, and no earlier than Nova's witness of either.
		if merged.Since = r.Since.Add(time.Second); later {
			merged.Since = other.Since
		}
	}
	merged.Doubt = r.Doubt + other.Doubt
	switch {
	case later:
		merged.Back = other.Back
	case other.Back.Beyond(r.Back) && other.Updated.After(r.Since):
		merged.Back = other.Back // it was seen after the later fencing
	default:
		merged.Back = r.Back
	}
	if merged.Back != NotBack && merged.Phase == Evacuated {
		merged.Phase = Returning
	}
	if merged.Claim == "" {
		merged.Claim = other.Claim
	}
	if merged.Refenced == 0 && other.Refenced > 0 {
		merged.Refenced = 1
	}
	switch {
	case r.Hold == HeldByOperator || other.Hold == HeldByOperator:
		merged.Hold = HeldByOperator
	case merged.Hold == HeldByName:
		merged.Hold = ""
	}
	if merged.Owner == "" && merged.Unfinished() && !merged.OnHold() {
		merged.Wait = ForSupervisor
	}
	return merged
}

// Seen notes a sign that the host is on. It returns false where the sign is known already.
// An operator's Resumed applied to a host that was off, and ends.
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

// Overruled reports whether an operator has the host evacuated although it is known to be
// on.
func (r Record) Overruled() bool { return r.Back != NotBack && r.Hold == Resumed }

// Refencing notes that the host is to be fenced again in this generation. It returns false
// where the host was fenced again in an earlier generation.
func (r Record) Refencing(back Back, now time.Time) (Record, bool) {
	if r.Refenced != 0 && r.Refenced != r.Gen {
		return r, false
	}
	r, _ = r.Seen(back, now)
	r.Refenced, r.Updated = r.Gen, now
	return r, true
}

// Claimed gives the record with a new owner, of which unseen requests may be under way
// without Nova showing them. Where the owner before did not release it, inDoubt more
// instances may have been sent unseen.
func (r Record) Claimed(owner string, unseen, inDoubt int, now time.Time) Record {
	if r.Owner != "" {
		r.Doubt += inDoubt
	}
	r.Owner, r.Phase, r.Updated = owner, Evacuating, now
	// No owner claims one host twice within a millisecond.
	r.Claim = fmt.Sprintf("%s/%s/%d", owner, strconv.FormatInt(now.UnixMilli(), 36), unseen)
	return r
}

// ClaimUnseen is how many requests may be under way under a claim without Nova showing them.
// It returns false for a claim that does not say: an older version has made it.
func ClaimUnseen(claim string) (int, bool) {
	parts := strings.Split(claim, "/")
	if len(parts) < 3 {
		return 0, false
	}
	n, err := number(parts[len(parts)-1])
	return n, err == nil
}

// Corrected gives the record of a host of which Nova knows a later claim, or a later
// fencing. It has no owner, and inDoubt more instances may have been sent.
func (r Record) Corrected(found Witness, inDoubt int, now time.Time) Record {
	if found.Later(r.Witness()) {
		r = r.NextGeneration(cmp.Or(found.Node, r.Node), now)
		r.Gen = found.Gen
		if !found.Since.IsZero() {
			r.Since = found.Since
		}
	}
	r.Owner, r.Claim, r.Updated = "", found.Claim, now
	r.Doubt += inDoubt
	r.Wait = ForSupervisor
	return r
}

// Recovered gives a record for a host whose record is lost, from its witness in Nova. If
// the host was claimed, any of its instances may have been sent.
func Recovered(host string, found Witness, now time.Time) Record {
	r := NewlyFenced(host, found.Node, now)
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

// Released gives the record when its owner stops in good order before the end: each of
// the owner's requests was answered. doubtOver says that requests of an owner before can
// no longer be under way either.
func (r Record) Released(doubtOver bool, now time.Time) Record {
	r.Owner, r.Updated = "", now
	if doubtOver {
		r.Doubt = 0
	}
	if !r.OnHold() {
		r.Wait = ForSupervisor
	}
	return r
}

// Disowned gives the record of an owner of which an operator says that it is dead. Any
// instance may have been sent by it.
func (r Record) Disowned(now time.Time) Record {
	r.Owner, r.Doubt, r.Wait, r.Updated = "", everything, ForSupervisor, now
	return r
}

// Settled gives the record when nothing is left to evacuate.
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

// Powering gives the record of an evacuated host while owner powers it on.
func (r Record) Powering(owner string, now time.Time) Record {
	r.Owner, r.Updated = owner, now
	return r
}

// Returned gives the record of an evacuated host that is on again; owner, if any, is about
// to let it in.
func (r Record) Returned(owner string, now time.Time) Record {
	r, _ = r.Seen(BackOn, now)
	r.Phase, r.Owner, r.Updated, r.Wait = Returning, owner, now, Wait{}
	return r
}

// Held gives the record of a host with a hold, and the reason for it. Its owner, if it has
// one, then releases it.
func (r Record) Held(by Hold, why Wait, now time.Time) Record {
	r.Hold, r.Wait, r.Updated = by, why, now
	return r
}

// HeldFor sets HeldBySource where the source may run, and clears it where it does not. Any
// other hold stands.
func (r Record) HeldFor(source bool) Record {
	switch {
	case source && r.Hold == "":
		r.Hold = HeldBySource
	case !source && r.Hold == HeldBySource:
		r.Hold = ""
	}
	return r
}

// OnHold reports whether no owner may carry the evacuation now. One that is HeldBySource
// has an owner: the instances that were sent have to be followed.
func (r Record) OnHold() bool {
	return r.Hold == HeldByGuard || r.Hold == HeldByOperator || r.Hold == HeldByName
}

// Unfinished reports whether there may still be something to evacuate.
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

// OwnerNode splits an owner's name: the node that the owner is on, and whether it is a shell.
func OwnerNode(owner string) (node string, shell bool) {
	return strings.TrimPrefix(owner, shellPrefix), strings.HasPrefix(owner, shellPrefix)
}

// CheckHost refuses a name that cannot be a compute host's. Names end up in the CIB and
// in requests to Nova.
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

// ReasonPrefix begins every disabled_reason that nova-evac writes. It tells nova-evac's own
// disable from an operator's.
const ReasonPrefix = "nova-evac"

// Witness is the part of a record that also stands in Nova, as the disabled_reason of the
// host's service. Acknowledged writes to the CIB can be lost when two partitions of a
// cluster merge; a comparison of the two shows that they were.
type Witness struct {
	// Gen and Since are those of the record.
	Gen   int
	Since time.Time
	// Claim is the last claim under which anything was sent; empty: nothing was.
	Claim string
	// Node is the cluster's name of the host, empty where it is the record's. Nothing else
	// could tell it again where a host map leads from it to Nova's name.
	Node string
}

// Witness gives the witness that Nova should hold for this record.
func (r Record) Witness() Witness { return Witness{r.Gen, r.Since, r.Claim, r.Node} }

// Later reports whether w is about a later fencing than another witness. The generations
// alone do not tell: they begin at 1 again after a host was let in.
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
	const end = ": fenced, being evacuated"
	if node := " node=" + w.Node; w.Node != "" && len(text+node+end) <= maxReason {
		text += node
	}
	return text + end
}

// maxReason is what Nova takes.
const maxReason = 255

// ParseReason reads a witness from a disabled_reason. ours is false where somebody else
// disabled the service.
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
		case "node":
			w.Node = value
		}
	}
	return w, true
}
