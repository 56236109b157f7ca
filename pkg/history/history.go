// Package history says what Nova's records mean.
//
// Read takes one look at Nova and the moment of a fencing, and gives for every evacuation of
// every instance of the fenced host an outcome, the evidence for it, and the host on which a
// guest may be that Nova does not know of. The package is pure: it reads no clock and asks
// nobody. It decides nothing: what is to be done about an outcome is decided in package
// evacuate.
package history

import (
	"cmp"
	"slices"
	"time"

	"github.com/nova-evac/nova-evac/pkg/nova"
)

// Look is one look at Nova, and what is known besides. It is taken in this order: services,
// evacuation records, instances. Never the other way round: an instance that was listed on
// the host before its record was seen done would look as if it had to be sent again.
type Look struct {
	// Host is Nova's name of the fenced host.
	Host string
	// Since is when the host was fenced, Began when the first request of the look was made,
	// and Now is the present, all by the controller's clock.
	Since, Began, Now time.Time
	// Clock leads from there to Nova's clock.
	Clock Clock
	// SeenOn is true where there was any sign of the host's being on since its fencing.
	SeenOn bool
	// Back names the other hosts that were fenced, are on again, and were not let in yet.
	Back map[string]bool

	// Services are all nova-computes.
	Services []nova.Service
	// Evacuations are the records from or to the host, from Fencing.Records on.
	Evacuations []nova.Migration
	// Servers are the instances that Nova has on the host.
	Servers []nova.Server

	// Headed holds the hosts on which placement has set room aside, by instance. It has no
	// entry for an instance that was not asked about; see Instance.Questions.
	Headed map[string][]string
	// Everywhere holds the evacuation records of some instances whatever their hosts, by instance;
	// see Instance.Questions.
	Everywhere map[string][]nova.Migration
	// Courses holds what the events of some evacuations say, by the ids of their records.
	Courses map[int]nova.Course
}

// History is what one look at Nova means.
type History struct {
	// Host is Nova's name of the fenced host, and Service its nova-compute. Listed is false
	// where Nova lists none of that name.
	Host    string
	Service nova.Service
	Listed  bool
	// Began is when the look began, by the controller's clock.
	Began time.Time
	// Instances are those that Nova has on the host, by id: this is the order of sending, which
	// a new owner must be able to compute again from Nova's answers alone.
	Instances []Instance
	// Left counts the instances that have left the host by an evacuation since the fencing. One
	// that was deleted is not counted, its records went with it.
	Left int
	// Evacuated is true where any evacuation was begun since the fencing.
	Evacuated bool
	// Heard is true where Nova has heard from the host's nova-compute after the fencing, and was
	// not told that the host is down.
	Heard bool
	// Whole is true where nothing of the host needs anybody: no instance does, and no
	// evacuation from it is short of its end.
	Whole bool

	clock    Clock
	now      Time
	services []nova.Service
	known    map[string]bool
}

// Instance is an instance on the host, and what has become of its evacuations.
type Instance struct {
	// Server is the instance as Nova shows it.
	Server nova.Server
	// Evacuations are all that Nova shows, from the host and to it.
	Evacuations []Evacuation
	// Last is the newest from the host since the fencing, nil where there is none.
	Last *Evacuation
	// UnderWay is true where an evacuation of it may still come to something.
	UnderWay bool
	// Dest is where it is being rebuilt, empty where that is not known, and Began is when that
	// evacuation began. Both are empty where none is under way.
	Dest  string
	Began Time
	// Failed is true where none is under way and the last has failed. Its record need not say
	// so: where no host is valid, Nova marks the oldest record that is accepted, which may be
	// another evacuation's.
	Failed bool
	// FailedBefore is true where an evacuation from the host has failed not long before this
	// fencing: it is in error for that, and not for a reason of its own.
	FailedBefore bool
	// CameSince is true where it came to the host after that was fenced, so that its guest runs
	// there, however long the host is forced down.
	CameSince bool
	// Guest is where a guest of it may be, if no evacuation is under way.
	Guest Guest
	// NeedsLook is true where it needs somebody to look after it, should the host be let in
	// without an evacuation: it is in error or busy, or it may be off since the host lost its
	// power.
	NeedsLook bool

	host     string
	headed   []string
	wherever bool // another host is dead, so that it matters where it is headed
	now      Time
	fenced   Fencing
}

// Evacuation is one evacuation record, and what has become of the evacuation.
type Evacuation struct {
	// ID is that of the record. A higher one was begun later.
	ID int
	// Source and Dest are the compute hosts. Records cross: of two evacuations of an instance
	// the later one's destination claims the record of the earlier one
	// (nova/db/main/api.py, migration_get_by_instance_and_status takes the first that is
	// accepted).
	Source, Dest string
	Status       nova.Status
	// Created and Updated are Nova's stamps of the record.
	Created, Updated Time
	// Course is what its events say, if they were asked for.
	Course Course
	// Earlier is true where it was begun before the fencing.
	Earlier bool
	// Outcome is what has become of it, By is the evidence, and At is the destination that the
	// outcome is about, empty where none is known.
	Outcome Outcome
	By      Evidence
	At      string

	record nova.Migration
}

// Course is how far an evacuation has come by the events of its action (see nova.Course).
type Course struct {
	// Traced is true where the events were asked for.
	Traced bool
	// Sent, Taken and Ended are when the conductor sent it, when a destination began, and when
	// that was done with it successfully; zero before.
	Sent, Taken, Ended Time
	// Failed is true where the destination was done with it in vain.
	Failed bool
	// GivenUp is true where the conductor gave it up, and Err says why, in Nova's words.
	GivenUp bool
	Err     string
}

// Over answers whether the destination was done with it, be it in vain.
func (c Course) Over() bool { return !c.Ended.IsZero() || c.Failed }

// Read says what a look at Nova means.
func Read(look Look) History {
	r := newReader(look)
	h := History{
		Host: look.Host, Began: look.Began, Whole: true,
		clock: look.Clock, now: r.now, services: look.Services, known: map[string]bool{},
	}
	h.Service, h.Listed = h.ServiceOf(look.Host)
	h.Heard = !h.Service.ForcedDown && !h.Service.Partial && r.fenced.Over(Stamp(h.Service.Updated))
	for _, server := range look.Servers {
		i := r.instance(server)
		h.Instances, h.Whole = append(h.Instances, i), h.Whole && !i.NeedsLook
	}
	slices.SortFunc(h.Instances, func(a, b Instance) int { return cmp.Compare(a.Server.ID, b.Server.ID) })
	h.count(r)
	return h
}

// count draws from the records what is true of the host.
func (h *History) count(r *reader) {
	here, left := map[string]bool{}, map[string]bool{}
	for _, i := range h.Instances {
		here[i.Server.ID] = true
	}
	for _, e := range r.evacuations {
		id := e.record.Instance
		h.known[id] = true
		h.Whole = h.Whole && !(e.Source == r.Host && e.short())
		h.Evacuated = h.Evacuated || r.own(e)
		if r.own(e) && !here[id] && !e.unsuccessful() {
			left[id] = true
		}
	}
	h.Left = len(left)
}

// ServiceOf is the nova-compute of a host, if Nova lists one.
func (h History) ServiceOf(host string) (nova.Service, bool) {
	at := slices.IndexFunc(h.services, func(s nova.Service) bool { return s.Host == host })
	if at < 0 {
		return nova.Service{}, false
	}
	return h.services[at], true
}

// Usable answers whether the scheduler gives instances to a host.
func Usable(s nova.Service) bool { return s.Up && s.Enabled }

// Destinations are the other hosts to which the scheduler gives instances, as Nova lists them.
func (h History) Destinations() []string {
	var hosts []string
	for _, s := range h.services {
		if Usable(s) && s.Host != h.Host {
			hosts = append(hosts, s.Host)
		}
	}
	return hosts
}

// Has answers whether Nova shows any evacuation record of an instance, wherever that is. It
// shows none of one that was deleted.
func (h History) Has(instance string) bool { return h.known[instance] }

// Age is how long ago a moment was.
func (h History) Age(t Time) time.Duration { return h.now.Sub(t) }

// Shows answers whether Nova shows an evacuation from the host that is later than the record
// of the given id.
func (i Instance) Shows(after int) bool { return i.Last != nil && i.Last.ID > after }

// Newest is the highest id among the instance's evacuations, 0 where it has none.
func (i Instance) Newest() int {
	newest := 0
	for _, e := range i.Evacuations {
		newest = max(newest, e.ID)
	}
	return newest
}

// Unfit answers whether the last evacuation was asked for on a host by name, and the
// scheduler found that the host will not do (nova/conductor/manager.py, rebuild_instance).
func (i Instance) Unfit() bool {
	return i.Last != nil && i.Last.Dest != "" && i.Last.Status == nova.StatusError
}

// Tried are the hosts on which a rebuild of the instance has failed since the fencing.
func (i Instance) Tried() map[string]bool {
	tried := map[string]bool{}
	for _, e := range i.Evacuations {
		if e.Source == i.host && !e.Earlier && e.unsuccessful() {
			tried[e.Dest] = true
		}
	}
	return tried
}

// inError answers whether an instance is in error with nothing being done about it.
func inError(s nova.Server) bool { return s.VMState == vmError && s.TaskState == "" }

// vmError is the vm_state of an instance in error.
const vmError = "error"
