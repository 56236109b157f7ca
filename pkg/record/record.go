// Package record is the record of one compute host's evacuation: its phases, its
// one-line form as it stands in the cluster's CIB, and the transitions between
// its states. It is pure: it reads no clock and writes nothing.
package record

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Phase is how far the evacuation of a host is.
type Phase string

const (
	// Fenced: the host is off for sure, and nobody carries its evacuation yet.
	Fenced Phase = "fenced"
	// Evacuating: an owner carries the host's instances to other hosts.
	Evacuating Phase = "evacuating"
	// Evacuated: every instance is on another host or has a stated reason not to be.
	Evacuated Phase = "evacuated"
	// Returning: the host was powered on again and waits to be let in.
	Returning Phase = "returning"
)

// Hold keeps a host's evacuation from being carried.
type Hold string

const (
	// HeldByGuard: too much is down at once, so that something else than the hosts may be
	// broken. The evacuation goes on by itself when that is over.
	HeldByGuard Hold = "guard"
	// HeldByOperator: the evacuation waits until an operator resumes it.
	HeldByOperator Hold = "operator"
	// HeldBySource: the host is on again with no gate before its nova-compute, so that
	// instances that were not sent may run there. Those that were sent are followed to their
	// end; no other is sent.
	HeldBySource Hold = "source"
	// HeldByName: it is not clear which of Nova's hosts it is. The evacuation goes on by itself
	// when that is.
	HeldByName Hold = "name"
	// Resumed: an operator wants the evacuation to go on against the guard, or against the
	// signs that the host is on: see Overruled.
	Resumed Hold = "resumed"
)

// Back is how much was seen of a host since it was fenced. It only grows until the host is
// fenced again.
type Back string

const (
	// NotBack: nothing says that the host is on.
	NotBack Back = ""
	// BackOn: the host was powered on.
	BackOn Back = "yes"
	// BackRunning: its nova-compute was seen to run. Guests that were not evacuated by then
	// may run there, even after nova-compute has stopped again.
	BackRunning Back = "running"
)

// Beyond reports whether b says more than other.
func (b Back) Beyond(other Back) bool { return b.rank() > other.rank() }

func (b Back) rank() int {
	switch b {
	case NotBack:
		return 0
	case BackOn:
		return 1
	default:
		return 2
	}
}

// Counts count the instances of a host.
type Counts struct {
	// Total are all, Done those on another host.
	Total int `json:"total"`
	Done  int `json:"done"`
	// Failed have failed and are tried again, Skipped are left with a reason.
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
}

// Record is all that is kept of one host. Everything else is asked of Nova, so a new
// owner needs only the record and a look at Nova to go on.
type Record struct {
	// Host is the name under which the host was recorded: the plug that the fence hook got. It
	// is the record's key. Package identity leads from it to Nova's name.
	Host string
	// Node is the cluster's name of it, empty where it is the same as Host.
	Node  string
	Phase Phase
	// Gen rises with every fencing of the host, from 1.
	Gen int
	// Owner carries the evacuation: the supervisor on the cluster node of this name, or
	// "shell@node", a nova-evac that an operator runs. Empty: nobody does.
	Owner string
	// Claim identifies the owner's claim, or the last one. The owner leaves it in Nova, too
	// (see Witness), so that a record that went back in time is noticed.
	Claim string
	// Doubt is how many instances, first in the order in which an evacuation sends
	// them, may have been sent by an owner that died before Nova showed it.
	Doubt int
	// Since is when this generation began.
	Since time.Time
	Counts
	// Updated is when the record was last written.
	Updated time.Time
	// Back is what was seen of the host in this generation.
	Back Back
	// Refenced is the generation in which it was decided to have the host fenced again,
	// because it was on before its instances had left; 0: it never was.
	Refenced int
	// Hold says whether the evacuation may begin and go on.
	Hold Hold
	// Extra holds the fields that this version does not know, as they were read: a newer version
	// has written them, and reads them again.
	Extra string
	// Wait says in words for what the evacuation waits, or why something was left.
	Wait Wait
}

// timeFormat has whole seconds: nothing here needs more, and people read it.
const timeFormat = time.RFC3339

// Encode gives the record's value: one line of key=value pairs without quotes,
// so that `crm configure show` prints it as it is. Zero counts are written where
// an owner has listed the host's instances, and left out before.
func (r Record) Encode() string {
	var b strings.Builder
	put := func(key, value string) {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(key + "=" + value)
	}
	put("phase", string(r.Phase))
	put("gen", strconv.Itoa(r.Gen))
	if r.Node != "" && r.Node != r.Host {
		put("node", r.Node)
	}
	if r.Owner != "" {
		put("owner", r.Owner)
	}
	if r.Claim != "" {
		put("claim", r.Claim)
	}
	if r.Doubt > 0 {
		put("doubt", strconv.Itoa(r.Doubt))
	}
	put("since", r.Since.UTC().Format(timeFormat))
	for _, n := range r.counts() {
		if r.Phase != Fenced || *n.value > 0 {
			put(n.key, strconv.Itoa(*n.value))
		}
	}
	put("updated", r.Updated.UTC().Format(timeFormat))
	if r.Back != NotBack {
		put("back", string(r.Back))
	}
	if r.Refenced > 0 {
		put("refenced", strconv.Itoa(r.Refenced))
	}
	if r.Hold != "" {
		put("hold", string(r.Hold))
	}
	if r.Extra != "" {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(r.Extra)
	}
	if r.Wait != (Wait{}) {
		put("waiting_for", r.Wait.text)
	}
	return b.String()
}

type count struct {
	key   string
	value *int
}

func (r *Record) counts() []count {
	return []count{{"total", &r.Total}, {"done", &r.Done}, {"failed", &r.Failed}, {"skipped", &r.Skipped}}
}

// ErrMalformed is the error of Parse, wrapped with the reason.
var ErrMalformed = errors.New("malformed record")

// Parse reads a value that Encode wrote, or that an operator edited: keys in any
// order, unknown keys kept (a newer version may write them), waiting_for last. With an error
// it returns what it could read.
func Parse(host, value string) (Record, error) {
	r := Record{Host: host}
	var bad error
	for rest := strings.TrimSpace(value); rest != ""; {
		var field string
		if field, rest = rest, ""; !strings.HasPrefix(field, "waiting_for=") {
			field, rest, _ = strings.Cut(field, " ")
			rest = strings.TrimLeft(rest, " ")
		}
		key, val, found := strings.Cut(field, "=")
		var err error
		if !found {
			err = fmt.Errorf("%q is not key=value", field)
		} else if err = r.set(key, val); err != nil {
			err = fmt.Errorf("%s=%s: %w", key, val, err)
		}
		bad = cmp.Or(bad, err)
	}
	r.Since, r.Updated = r.Since.UTC(), r.Updated.UTC()
	if r.Node == r.Host {
		r.Node = ""
	}
	if bad = cmp.Or(bad, r.check()); bad != nil {
		return r, fmt.Errorf("%w of host %s: %w", ErrMalformed, host, bad)
	}
	return r, nil
}

// set sets the field of a key.
func (r *Record) set(key, val string) (err error) {
	switch key {
	case "phase":
		r.Phase = Phase(val)
	case "gen":
		r.Gen, err = number(val)
	case "node":
		r.Node = val
	case "owner":
		r.Owner = val
	case "claim":
		r.Claim = val
	case "doubt":
		r.Doubt, err = number(val)
	case "since":
		r.Since, err = time.Parse(timeFormat, val)
	case "updated":
		r.Updated, err = time.Parse(timeFormat, val)
	case "back":
		r.Back = Back(val)
	case "refenced":
		r.Refenced, err = number(val)
	case "hold":
		r.Hold = Hold(val)
	case "waiting_for":
		r.Wait = WaitFor(val)
	default:
		for _, n := range r.counts() {
			if n.key == key {
				*n.value, err = number(val)
				return err
			}
		}
		r.Extra = WaitFor(strings.TrimLeft(r.Extra+" "+key+"="+val, " ")).String()
	}
	return err
}

// check refuses what no record says.
func (r Record) check() error {
	switch {
	case r.Phase == "":
		return errors.New("no phase")
	case !slices.Contains([]Phase{Fenced, Evacuating, Evacuated, Returning}, r.Phase):
		return fmt.Errorf("unknown phase %q", r.Phase)
	case !slices.Contains([]Hold{"", HeldByGuard, HeldByOperator, HeldBySource, HeldByName, Resumed}, r.Hold):
		return fmt.Errorf("hold=%s: it can be guard, operator, source, name or resumed", r.Hold)
	case !slices.Contains([]Back{NotBack, BackOn, BackRunning}, r.Back):
		return fmt.Errorf("back=%s: it can be yes or running", r.Back)
	case r.Gen < 1:
		return errors.New("gen must be 1 or more")
	case r.Since.IsZero():
		return errors.New("no since")
	}
	return nil
}

func number(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 1<<30 {
		return 0, errors.New("not a count")
	}
	return n, nil
}
