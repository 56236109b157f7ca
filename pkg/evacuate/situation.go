package evacuate

import (
	"slices"
	"time"

	"github.com/nova-evac/nova-evac/pkg/heartbeat"
	"github.com/nova-evac/nova-evac/pkg/history"
	"github.com/nova-evac/nova-evac/pkg/nova"
)

// Policy is what an operator may choose about how an evacuation is carried.
type Policy struct {
	// MaxInFlight is how many instances of one host are under way at once, from the
	// moment their request is sent to the moment Nova has settled them.
	MaxInFlight int
	// APITime is how long a request can live inside the cloud's API before it takes
	// effect or never does: the longest time limit of its proxies and workers.
	APITime time.Duration
	// RetryMin and RetryMax bound the pause before an instance that failed is sent
	// again; it doubles from failure to failure.
	RetryMin, RetryMax time.Duration
	// LeaveError has instances left that were in error when the host died. By default they
	// are evacuated, and run afterwards.
	LeaveError bool
	// ResetStates are vm_states that Nova does not evacuate, and that are to be reset to
	// error first: the instance is booted on another host, and what it was is forgotten.
	ResetStates []string
}

// DefaultPolicy suits a cloud whose proxies cut a request off after a minute.
var DefaultPolicy = Policy{
	MaxInFlight: 16,
	APITime:     time.Minute,
	RetryMin:    5 * time.Second,
	RetryMax:    5 * time.Minute,
}

// Pause is the pause after the given number of failures, 1 and up.
func (p Policy) Pause(failures int) time.Duration {
	pause := p.RetryMin
	for range failures - 1 {
		if pause >= p.RetryMax {
			break
		}
		pause *= 2
	}
	return min(pause, p.RetryMax)
}

// Attempt is what this process knows of the requests it sent for one instance. It
// is lost when the process dies; what it holds that matters is covered by the
// order of sending (see Situation.Doubt).
type Attempt struct {
	// Pending is true while the request has no answer.
	Pending bool
	// Answered is when the last answer, or the loss of it, was noticed.
	Answered time.Time
	// UnknownUntil is not zero where the answer was lost: until then the request may
	// still be under way.
	UnknownUntil time.Time
	// LastRecord is the highest id among the instance's evacuation records when the
	// request was sent; a higher one afterwards is that request's.
	LastRecord int
	// GuestOn is the host on which the hypervisor has found a guest of the instance, of which Nova
	// does not know. A message that somebody takes up later may overwrite what showed it.
	GuestOn string
	// Stop is true where the instance has to be stopped once it has arrived.
	Stop bool
	// Over is true once what came of the request is known.
	Over bool
	// Failures counts failed attempts that are over.
	Failures int
	// NotBefore is when the instance may be sent again.
	NotBefore time.Time
	// Earlier is true where an evacuation before this one has sent it, in the same process. It
	// holds its instance back while it may be under way, and says nothing of what other owners
	// have sent since.
	Earlier bool
	// Refused is true where the last answer was anything but a yes, and Err says what it was, in
	// Nova's words.
	Refused bool
	Err     string
}

// Situation is all that a decision rests on.
type Situation struct {
	// Now is the present by our clock, as all times here are.
	Now time.Time
	// Doubt is how many instances, the first in the order of sending, may have been
	// sent by an owner that died before Nova showed it; until DoubtUntil they are
	// left alone, and so are those that failed and would be sent again.
	Doubt      int
	DoubtUntil time.Time
	// Reason is the disabled_reason that names our claim.
	Reason string
	// WasDown is true once forced_down and Reason were read back in this run.
	WasDown bool
	// Heartbeat is what the heartbeats of its nova-compute say, and Source what all signs
	// together say of the host.
	Heartbeat heartbeat.Sign
	Source    Source
	// FailedOnRecord is how many instances the host's record says have failed. A
	// new owner takes the order of sending from Nova, which does not show what it
	// refused; the count on record tells it how many may stand before the frontier,
	// so it must not fall behind by more than unrecorded.
	FailedOnRecord int
	// NoAnswer holds the instances about which a question of their own was not answered, with
	// what came instead of an answer. They wait, and nothing else waits for them.
	NoAnswer map[string]error
	// History is what a look at Nova means, and Attempts are our own requests, by instance.
	History  history.History
	Attempts map[string]Attempt
}

// guest is where an instance may have a guest that Nova does not know of: what Nova shows now,
// or else what it has shown of our own attempts.
func (s Situation) guest(of history.Instance) history.Guest {
	on := s.Attempts[of.Server.ID].GuestOn
	if of.Guest.State != history.NoGuest || on == "" {
		return of.Guest
	}
	g := history.Guest{State: history.GuestOutOfReach, Host: on, Exists: true}
	switch service, listed := s.History.ServiceOf(on); {
	case !listed, service.ForcedDown:
		g.State = history.GuestDead
	case history.Usable(service):
		g.State = history.GuestInReach
	}
	return g
}

// InDoubt is how many instances, first in the order of sending, may have been sent
// unseen by an owner that died and left failedOnRecord in the record.
func InDoubt(p Policy, failedOnRecord int) int {
	return p.MaxInFlight + p.unrecorded() + failedOnRecord
}

// unrecorded is how many instances may fail before nothing more is sent until the
// record says so, which is written every few seconds.
func (p Policy) unrecorded() int { return max(p.MaxInFlight/4, 1) }

// State is what is to be thought of one instance.
type State string

// The states of an instance of the host. Only Nova no longer having it on the
// host counts as done: neither an evacuation record in whatever status, nor the
// absence of a task is proof.
const (
	// Waiting: to be sent as soon as a slot is free.
	Waiting State = "waiting"
	// Sent: its request has no answer yet, or Nova does not show it yet.
	Sent State = "sent"
	// Rebuilding: Nova is working on it.
	Rebuilding State = "rebuilding"
	// Doubtful: a request that nobody can see may still be under way for it.
	Doubtful State = "doubtful"
	// Failed: an attempt failed; it is sent again after a pause.
	Failed State = "failed"
	// Skipped: it stays, for a reason.
	Skipped State = "skipped"
)

// Reason is why an instance is in its state, where there is something to say.
type Reason int

const (
	// NoReason: nothing has befallen it.
	NoReason Reason = iota

	// RequestFailed: the answer to its last request was not a yes.
	RequestFailed
	// RebuildFailed: its last evacuation has failed.
	RebuildFailed
	// GivenUp: Nova's conductor has given its last evacuation up.
	GivenUp
	// Lost: the destination of its last evacuation has lost it.
	Lost
	// NoEnd: an evacuation of it has no end in Nova, and may have left a guest.
	NoEnd

	// NotTold: Nova or placement did not answer what has to be known before it is sent.
	NotTold

	// CameSince: it has come to the host after that was fenced.
	CameSince
	// LeftInError: it was in error, and the policy leaves those.
	LeftInError
	// NotEvacuable: Nova does not evacuate an instance in its vm_state.
	NotEvacuable
	// BeingDeleted: its user has asked for its deletion.
	BeingDeleted

	// AnswerLost: the answer to its request was lost.
	AnswerLost
	// SentBefore: the owner before may have sent it.
	SentBefore
)

// Instance is the verdict on one instance.
type Instance struct {
	ID, Name string
	State    State
	Reason   Reason
	// GuestOutOfReach is true where it is Failed because a guest of it may run on a host that
	// cannot be used.
	GuestOutOfReach bool
	// Dest is where it is being rebuilt, if known.
	Dest string
	// Reset is true where its vm_state has to be reset before it is sent.
	Reset bool
	// Began is when its evacuation began, by Nova's clock; zero where it is not being rebuilt.
	Began history.Time
}

// Plan is what to do now. It holds no sentence: Words puts it in words.
type Plan struct {
	// ForceDown is true where Nova has to be told first that the host is down.
	// Nothing is sent before that was read back.
	ForceDown bool
	// Disable is the reason for which its service is to be disabled with that, empty where an
	// operator has disabled it.
	Disable string
	// Service is the host's nova-compute, as read.
	Service nova.Service
	// Sending is true where more may be sent as slots become free.
	Sending bool
	// Send holds the evacuations to send now, in order.
	Send []Send
	// Instances are the verdicts on the instances of the history, in the same order.
	Instances []Instance
	// Done counts the instances that left the host in this generation.
	Done int
	// Settled is true when nothing is left to do.
	Settled bool
	// Returned is true where the host was on again before Nova was told that it is down, or
	// was let in: it is not forced down, and nothing is sent.
	Returned bool
	// LetIn is true where a host that has returned needs nothing any more but to be enabled.
	LetIn bool
	// Held counts the instances that are not sent because they may run on the host. Begun is
	// true where others were sent in this generation.
	Held  int
	Begun bool
	// Until is when the plan changes by itself at the earliest; zero: only Nova
	// can change it.
	Until time.Time
}

// Send is one evacuation to be sent.
type Send struct {
	ID string
	// Dest is where to, empty for the scheduler's choice.
	Dest string
	// Again is true where a rebuild of the instance has failed. Nova starts what it
	// evacuates from error: one that was stopped has to be stopped when it has arrived.
	Again bool
	// Reset is true where its vm_state has to be reset to error first.
	Reset bool
}

// Count is how many instances are in one of the given states.
func (p Plan) Count(states ...State) int {
	n := 0
	for _, i := range p.Instances {
		if slices.Contains(states, i.State) {
			n++
		}
	}
	return n
}
