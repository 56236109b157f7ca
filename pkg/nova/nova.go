// Package nova is the few things that nova-evac asks of OpenStack Nova, on
// gophercloud: the compute services, the instances of a host, the evacuation
// records of a host, forcing a host down and evacuating an instance.
//
// It decides nothing. Package history says what an answer means for an evacuation, and
// package evacuate decides what is done about it. This package only makes sure that "Nova
// refused", "Nova was not reached" and "nobody knows" are never taken for one another.
package nova

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nova-evac/nova-evac/pkg/record"
)

// Service is one nova-compute of GET /os-services.
type Service struct {
	// ID is the service's uuid (microversion 2.53).
	ID string
	// Host is the name by which Nova knows the compute host.
	Host string
	// Zone is the availability zone that the host is in.
	Zone string
	// Up is Nova's own view: the heartbeat is fresh and nobody forced it down.
	Up bool
	// Enabled is false when the scheduler must not use the host.
	Enabled bool
	// ForcedDown is true when somebody told Nova that the host is dead. While it
	// is set, Up is false whatever the heartbeat says.
	ForcedDown bool
	// DisabledReason is the text that whoever disabled the service left.
	DisabledReason string
	// Updated is Nova's updated_at. A PUT moves it too, so it is not a pure
	// heartbeat (seen on Nova 26.2).
	Updated time.Time
	// Partial is true for the minimal record that Nova returns for a host whose
	// cell is down (2.69): everything but Host is unknown.
	Partial bool
}

// Ours answers whether the reason for which the service is disabled is nova-evac's, and
// not an operator's.
func (s Service) Ours() bool { return strings.HasPrefix(s.DisabledReason, record.ReasonPrefix) }

// Server is one instance, as much of it as an evacuation needs.
type Server struct {
	ID   string
	Name string
	// Host is OS-EXT-SRV-ATTR:host. It changes last in an evacuation: before the
	// record becomes done, after the guest runs (nova/compute/resource_tracker.py,
	// finish_evacuation).
	Host string
	// VMState is OS-EXT-STS:vm_state: active, stopped, error, paused, ...
	VMState string
	// TaskState is OS-EXT-STS:task_state, empty for none.
	TaskState string
	// Fault is the message of the instance's last fault, empty for none.
	Fault string
	// Updated is when Nova last changed anything of it.
	Updated time.Time
	// Partial is true for the minimal record that Nova returns from a cell that
	// is down (2.69): everything but ID is unknown, not absent.
	Partial bool
}

// Evacuable answers whether Nova evacuates the instance in its vm_state
// (nova/compute/api.py, evacuate; tried state by state on Nova 26.2).
func (s Server) Evacuable() bool {
	return s.VMState == "active" || s.VMState == "stopped" || s.VMState == "error"
}

// Status is the status of a migration record, in Nova's words.
type Status string

// The statuses that Nova gives the record of an evacuation.
const (
	// StatusAccepted: nova-api has made the record (nova/compute/api.py, evacuate).
	StatusAccepted Status = "accepted"
	// StatusPreMigrating: a destination has claimed the instance
	// (nova/compute/resource_tracker.py, _claim).
	StatusPreMigrating Status = "pre-migrating"
	// StatusDone: the destination has finished, and the instance's host was changed
	// (nova/compute/manager.py, rebuild_instance).
	StatusDone Status = "done"
	// StatusCompleted: nova-compute of the source was started, and has marked the record so
	// whatever had become of it (nova/compute/manager.py, _destroy_evacuated_instances).
	StatusCompleted Status = "completed"
	// StatusError: the conductor found no valid host (nova/conductor/manager.py,
	// rebuild_instance).
	StatusError Status = "error"
	// StatusFailed: the rebuild failed on the destination (nova/compute/manager.py,
	// rebuild_instance).
	StatusFailed Status = "failed"
)

// Migration is one evacuation record of GET /os-migrations.
type Migration struct {
	ID       int
	Instance string
	// Source and Dest are the compute hosts. Dest is empty until a destination
	// has claimed the instance, or for ever where policy hides it.
	Source  string
	Dest    string
	Status  Status
	Created time.Time
	// Updated is when Nova last wrote it, zero for never.
	Updated time.Time
}

// Open answers whether the evacuation may still be under way. Completed may be one that a
// destination works on: the source's nova-compute was started, and marked all its
// evacuations so (nova/compute/manager.py, _destroy_evacuated_instances).
func (m Migration) Open() bool {
	return m.Status == StatusAccepted || m.Status == StatusPreMigrating || m.Status == StatusCompleted
}

// Errors on which callers decide. Test them with errors.Is.
var (
	// ErrNotFound: Nova says that it is not there (404 with Nova's itemNotFound; the
	// 404 of a proxy or of a wrong address is ErrRefused).
	ErrNotFound = errors.New("not found")
	// ErrSourceInUse: Nova refused to evacuate because it still takes the source's
	// nova-compute for alive (400, ComputeServiceInUse).
	ErrSourceInUse = errors.New("nova still takes the source host for alive")
	// ErrRefused: Nova understood and said no (4xx); nothing happened.
	ErrRefused = errors.New("nova refused")
	// ErrNotSent: the request certainly did not reach Nova (no connection, name not
	// resolved, no token) or was turned away at its door (401, 406, 429); nothing
	// happened.
	ErrNotSent = errors.New("nova was not reached")
	// ErrAnswered: Nova answered with a failure of its own (500, 503); the request
	// is over, but its effect is unknown until one looks.
	ErrAnswered = errors.New("nova failed to carry it out")
	// ErrUnknownOutcome: the answer is lost (timeout, connection cut, 502, 504); the
	// request may still be under way.
	ErrUnknownOutcome = errors.New("the answer was lost, the request may still be under way")
)

// Error is what every method of Client fails with. It unwraps to one of the
// errors above and carries no secret.
type Error struct {
	// Op says what was being done and to what: "evacuate instance 6f0c…".
	Op string
	// Kind is one of the sentinel errors of this package.
	Kind error
	// Code is the HTTP status, 0 where there was no answer. Where no token was to be
	// had it is Keystone's.
	Code int
	// Message is Nova's own sentence, or the transport's.
	Message string
}

// Error gives one line: what was done, what came of it.
func (e *Error) Error() string {
	if e.Code != 0 {
		return fmt.Sprintf("%s: HTTP %d: %s", e.Op, e.Code, e.Message)
	}
	return fmt.Sprintf("%s: %s", e.Op, e.Message)
}

// Unwrap makes errors.Is find the kind.
func (e *Error) Unwrap() error { return e.Kind }
