package history

import "time"

// The bounds that a reading of Nova's records rests on. There are no others.
const (
	// clockMargin is what is lost in whole seconds: those of Nova's created_at, of the Date
	// header that tells the skew, and of the since of nova-evac's record.
	clockMargin = 3 * time.Second

	// staleAccepted is the age from which a record that is accepted, while its instance has no
	// task, belongs to a request that came to nothing. Nova sets the task before it makes the
	// record (nova/compute/api.py, evacuate).
	staleAccepted = 30 * time.Second

	// unlistedTime is how long an instance that has the task of a rebuild, and no record of an
	// evacuation, is left alone. Nova sets the task, then makes the record, and the records were
	// listed first (nova/compute/api.py, evacuate).
	unlistedTime = 30 * time.Second

	// answerTime is the age from which an evacuation that no destination has taken is traced.
	// The conductor waits for the scheduler so long (rpc_response_timeout, by default a
	// minute). Then it gives up, and only an event says so.
	answerTime = time.Minute

	// queueTime is how long an evacuation is left to a destination that has not taken it and
	// is forced down. The message waits in its queue. A cluster may power a fenced host on at
	// once, and its nova-compute takes the message up (seen on Nova 26.2). If the instance was
	// sent elsewhere by then, both rebuild it.
	queueTime = 3 * time.Minute

	// bootTime is how long it is left to a destination that is on again by then. The
	// destination boots, and takes the message as soon as its nova-compute starts.
	bootTime = 15 * time.Minute

	// conductorTime is how long an evacuation is left to the conductor although its
	// destination is dead. A conductor that was frozen carries its requests out when it goes
	// on (seen on Nova 26.2).
	conductorTime = 20 * time.Minute

	// sameSecond is how long an evacuation is left to a destination that took it in the very
	// second of that destination's fencing. Both stamps are whole seconds, so the order of the
	// two cannot be told.
	sameSecond = time.Minute

	// arrivalTime is how long Nova may take from the end of a rebuild's task to the change of
	// the instance's host (nova/compute/manager.py, rebuild_instance).
	arrivalTime = 30 * time.Second

	// heartbeatLife is how long the scheduler may still choose a host that has fallen silent:
	// Nova's service_down_time, by default a minute, and some more.
	heartbeatLife = 90 * time.Second

	// againTime is how long before a fencing an evacuation may have begun that is taken for
	// the last that befell an instance. A host that is fenced a second time has been
	// evacuated, or was being evacuated, not long before.
	againTime = time.Hour

	// longestRebuild is how far before the fencing evacuations are asked for. Those that were
	// begun by hand, or for an earlier fencing, may still be under way.
	longestRebuild = 24 * time.Hour

	// LongRebuild is from when on a rebuild is named with what an operator can do about it.
	// One whose destination's nova-compute was restarted goes on for ever in Nova, and nothing
	// in its API tells that rebuild from one that copies a big disk. Nothing is decided by it.
	LongRebuild = 20 * time.Minute
)
