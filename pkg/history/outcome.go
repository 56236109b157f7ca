package history

// Outcome is what has become of one evacuation, as far as Nova's answers tell.
type Outcome int

// The outcomes of an evacuation of an instance that Nova still has on the host.
const (
	// Unknown: Nova tells nothing of it, or a status that it does not give to evacuations.
	Unknown Outcome = iota

	// WithConductor: no destination is known yet.
	WithConductor
	// Queued: it was sent to its destination, or asked for there by name, and the destination
	// has not taken it yet.
	Queued
	// QueuedDown: the same, and the destination is forced down. It is left to the destination
	// for a while, for a host that is powered on takes the messages that waited for it.
	QueuedDown
	// AtWork: its destination rebuilds the instance.
	AtWork
	// TakenSince: its destination took it after that destination's own fencing, so the
	// destination is on again and works on it, although it is forced down.
	TakenSince
	// Arriving: the rebuild is done, and Nova has still to change the instance's host, or has
	// changed it since the instances were listed.
	Arriving

	// Failed: its record says that it failed.
	Failed
	// InError: its instance is in error and has no task. The rebuild has failed, or an operator
	// has said, by os-resetState, that it is stuck.
	InError
	// GivenUp: the conductor has given it up, without a word to anybody but an event.
	GivenUp
	// Lost: its destination has lost the message.
	Lost
	// DestinationDead: every destination that it can have is forced down. Nothing in Nova ends
	// it (seen on Nova 26.2: the record stays pre-migrating for ever).
	DestinationDead
	// Stale: it is accepted, and its instance has no task. The request came to nothing.
	Stale
	// LeftOver: it was begun before the fencing, and is not under way. Some records stay accepted
	// or pre-migrating for ever (seen on Nova 26.2). It may have left a guest all the same.
	LeftOver

	// Came: it has brought the instance to the host before that was fenced.
	Came
	// CameSince: it has brought the instance to the host after that was fenced. The host is on
	// again, and the guest runs there.
	CameSince
	// Elsewhere: its record is one of an evacuation between other hosts.
	Elsewhere
)

// UnderWay answers whether an evacuation with this outcome may still come to something.
func (o Outcome) UnderWay() bool { return o >= WithConductor && o <= Arriving }

// String names the outcome for people.
func (o Outcome) String() string {
	return [...]string{"unknown", "with the conductor", "queued", "waiting for a dead destination", "at work", "taken after its destination's fencing", "arriving",
		"failed", "ended in error", "given up by the conductor", "lost", "destination dead", "came to nothing", "left over",
		"came before the fencing", "came after the fencing", "between other hosts"}[o]
}

// Evidence is on what an outcome rests.
type Evidence int

// The kinds of evidence.
const (
	// ByStatus: the status of the record, or its age.
	ByStatus Evidence = iota
	// ByInstance: the vm_state and the task_state of the instance.
	ByInstance
	// ByService: the service of the destination: forced_down, and the time of the fencing in
	// the disabled_reason.
	ByService
	// ByEvents: the events of the evacuation's action.
	ByEvents
	// ByPlacement: the hosts on which placement has set room aside.
	ByPlacement
	// ByLater: an evacuation that was sent to the same destination later, and was taken there.
	ByLater
)

// String names the evidence for people.
func (e Evidence) String() string {
	return [...]string{"its record", "its instance", "the service of its destination", "its events", "placement", "a later evacuation"}[e]
}
