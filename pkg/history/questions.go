package history

import (
	"slices"

	"github.com/nova-evac/nova-evac/pkg/nova"
)

// Turn is what is about to be done with an instance. On it depends what more has to be known
// of its evacuations.
type Turn int

const (
	// NotNow: nothing is to be done with it at this look.
	NotNow Turn = iota
	// UnderWay: an evacuation of it is under way, and it may have ended without a word.
	UnderWay
	// ToSend: it is among those that may be sent now.
	ToSend
)

// Questions are what more has to be asked about an instance before anything is decided.
type Questions struct {
	// Trace are the evacuations of which the events have to be asked (Look.Courses).
	Trace []nova.Migration
	// Everywhere is true where all evacuation records of the instance have to be asked for,
	// whatever their hosts (Look.Everywhere).
	Everywhere bool
	// Headed is true where placement has to be asked where the instance has room (Look.Headed).
	Headed bool
}

// None answers whether nothing more has to be asked.
func (q Questions) None() bool { return len(q.Trace) == 0 && !q.Everywhere && !q.Headed }

// Questions gives what more has to be asked about the instance.
func (i Instance) Questions(turn Turn) Questions {
	var q Questions
	for _, e := range i.Evacuations {
		if i.toTrace(e, turn) {
			q.Trace = append(q.Trace, e.record)
		}
	}
	// The record that its evacuation was given may be one that was left over on another host.
	q.Everywhere = turn == ToSend && inError(i.Server) && i.undecided()
	q.Headed = turn == UnderWay && i.undecided() && (len(q.Trace) > 0 || i.wherever)
	return q
}

// toTrace answers whether the events of an evacuation have to be asked.
func (i Instance) toTrace(e Evacuation, turn Turn) bool {
	completed := e.Status == nova.StatusCompleted
	switch {
	case completed && i.undated(e):
		return true
	case e.Source != i.host:
		return false
	case turn == ToSend:
		return completed && (i.Server.VMState == vmError || i.lately(e))
	case turn == UnderWay && inError(i.Server):
		return e.record.Open()
	case turn == UnderWay:
		return completed || e.Status == nova.StatusAccepted && i.now.Sub(e.Created) > answerTime
	}
	return false
}

// undated answers whether a record that is completed does not tell when it has brought the
// instance to the host.
func (i Instance) undated(e Evacuation) bool { return e.Dest == i.host && i.fenced.Over(e.Updated) }

// undecided answers whether a record of the instance is open and names no destination.
// Another one may name one all the same, for records cross.
func (i Instance) undecided() bool {
	return slices.ContainsFunc(i.Evacuations, func(e Evacuation) bool {
		return e.Source == i.host && e.untaken() && e.Dest == ""
	})
}
