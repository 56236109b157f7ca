package evacuate

import (
	"slices"
	"time"

	"github.com/nova-evac/nova-evac/pkg/history"
	"github.com/nova-evac/nova-evac/pkg/nova"
)

// judge says what is to be thought of one instance that Nova has on the host.
func judge(of history.Instance, s Situation, p Policy) Instance {
	i := Instance{ID: of.Server.ID, Name: of.Server.Name}
	is := func(state State, reason Reason) Instance {
		i.State, i.Reason = state, reason
		return i
	}
	a, tried := s.Attempts[i.ID]
	switch {
	case tried && a.unseen(s.History.Began):
		return is(Sent, NoReason)
	case of.Server.Partial:
		return is(Rebuilding, NoReason) // its cell is down, Nova tells nothing of it
	case s.NoAnswer[i.ID] != nil && (of.CameSince || !of.UnderWay):
		return is(Failed, NotTold) // counted as failed: the order of sending goes on without it
	case of.CameSince:
		return is(Skipped, CameSince)
	case of.UnderWay:
		i.Dest, i.Began = of.Dest, of.Began
		return is(Rebuilding, NoReason)
	case tried && a.lost(of, s.Now):
		return is(Doubtful, AnswerLost)
	}
	if reason := stays(of, p); reason != NoReason {
		return is(Skipped, reason)
	}
	i.Reason = befallen(of, a)
	switch {
	case s.Now.Before(a.NotBefore):
		i.State = Failed
	case s.guest(of).State == history.GuestOutOfReach:
		i.State, i.GuestOutOfReach = Failed, true
	default:
		i.State, i.Reset = Waiting, !of.Server.Evacuable()
	}
	return i
}

// unseen answers whether a look that began at a time cannot show what came of the request: it
// has no answer, or got it later.
func (a Attempt) unseen(began time.Time) bool { return a.Pending || !a.Answered.Before(began) }

// lost answers whether the answer to the request was lost and Nova does not show its record, so
// that it may still be under way.
func (a Attempt) lost(of history.Instance, now time.Time) bool {
	return !of.Shows(a.LastRecord) && now.Before(a.UnknownUntil)
}

// stays gives the reason for which an instance is not evacuated, and NoReason where it is.
// Nova evacuates some vm_states, and refuses all else with 409 (see nova.Server.Evacuable).
func stays(of history.Instance, p Policy) Reason {
	server := of.Server
	switch {
	case server.VMState == "error" && p.LeaveError && of.Last == nil && !of.FailedBefore:
		return LeftInError
	case !server.Evacuable() && !slices.Contains(p.ResetStates, server.VMState):
		return NotEvacuable
	case server.TaskState == "deleting", server.TaskState == "soft-deleting":
		return BeingDeleted // an evacuation would bring it back
	}
	return NoReason
}

// befallen is what came of the last attempt to evacuate an instance.
func befallen(of history.Instance, a Attempt) Reason {
	switch {
	case of.Failed:
		return RebuildFailed
	case of.Last != nil && of.Last.Outcome == history.GivenUp:
		return GivenUp
	case of.Last != nil && of.Last.Outcome == history.Lost:
		return Lost
	case a.Refused:
		return RequestFailed
	case of.Guest.State != history.NoGuest:
		return NoEnd
	}
	return NoReason
}

// Learn draws from a new look at Nova what came of the requests that were answered
// before it, and returns the attempts so completed. An instance that is still on
// the host with nothing under way has failed, and gets a pause; one whose
// destination died has not failed, and gets none.
func Learn(s Situation, p Policy) map[string]Attempt {
	learned, listed := map[string]Attempt{}, map[string]bool{}
	for _, i := range s.History.Instances {
		listed[i.Server.ID] = true
		if a, tried := s.Attempts[i.Server.ID]; tried {
			if a = a.learn(i, s, p); !a.Earlier || !a.Over {
				learned[i.Server.ID] = a
			}
		}
	}
	for id, a := range s.Attempts {
		if !listed[id] && a.unseen(s.History.Began) {
			learned[id] = a
		}
	}
	return learned
}

// learn is the attempt after a look at its instance.
func (a Attempt) learn(i history.Instance, s Situation, p Policy) Attempt {
	if a.unseen(s.History.Began) || a.Over || i.Server.Partial || i.UnderWay {
		return a
	}
	if a.lost(i, s.Now) {
		return a
	}
	a.Over, a.UnknownUntil = true, time.Time{}
	a.GuestOn = a.guestOn(i)
	if i.Shows(a.LastRecord) && i.Unfit() && i.Guest.State == history.NoGuest && a.GuestOn == "" {
		return a // the choice of a host was ours, and costs the instance nothing
	}
	if !i.Shows(a.LastRecord) || i.Failed || i.Last.Course.GivenUp {
		a.Failures++
		a.NotBefore = s.Now.Add(p.Pause(a.Failures))
	}
	return a
}

// guestOn is where a guest is known to be after a look at its instance. A hypervisor that
// fails a rebuild for another reason has no guest of it.
func (a Attempt) guestOn(i history.Instance) string {
	switch {
	case i.Guest.Exists && i.Guest.Host != "":
		return i.Guest.Host
	case i.Last != nil && i.Last.Dest == a.GuestOn && i.Last.Status == nova.StatusFailed && i.Shows(a.LastRecord):
		return ""
	}
	return a.GuestOn
}

// Questions are what has to be asked before Decide.
type Questions struct {
	// Headed holds the instances whose destination only placement can tell.
	Headed []string
	// Everywhere holds the instances of which all evacuation records have to be known.
	Everywhere []string
	// Trace holds the evacuations of which only the events can tell what keeps them.
	Trace []nova.Migration
}

// Ask gives what has to be asked, in the order of sending. Of the instances that wait, only
// those whose turn is next are asked about.
func Ask(s Situation, p Policy) Questions {
	var all Questions
	if !s.History.Listed {
		return all
	}
	waiting := 0
	for _, of := range s.History.Instances {
		i, turn := judge(of, s, p), history.NotNow
		switch {
		case i.State == Waiting:
			if waiting++; waiting > p.MaxInFlight {
				continue
			}
			turn = history.ToSend
		case i.State == Failed && !s.Now.Before(s.Attempts[i.ID].NotBefore):
			turn = history.ToSend // as soon as the host of its guest can be used
		case i.State == Rebuilding:
			turn = history.UnderWay
		}
		q := of.Questions(turn)
		all.Trace = append(all.Trace, q.Trace...)
		if q.Everywhere {
			all.Everywhere = append(all.Everywhere, i.ID)
		}
		if q.Headed {
			all.Headed = append(all.Headed, i.ID)
		}
	}
	return all
}
