package evacuate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/record"
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

// Snapshot is one look at Nova, taken in this order: evacuation records, then
// instances. Never the other way round: an instance that was listed on the source
// before its record was seen done would look as if it had to be sent again.
type Snapshot struct {
	// Began is when the first request of the look was made, on our clock.
	Began time.Time
	// Services are all nova-computes.
	Services []nova.Service
	// Evacuations are the records from or to the host, at least those created since
	// the generation began.
	Evacuations []nova.Migration
	// Servers are the instances that Nova has on the host.
	Servers []nova.Server
	// Headed holds, for instances whose evacuation is accepted and has no
	// destination yet, the hosts that placement has set aside for them. It has no
	// entry for an instance that was not asked about.
	Headed map[string][]string
	// Courses holds what the events of some evacuations say, by the ids of their records.
	Courses map[int]nova.Course
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
	// Stop is true where the instance has to be stopped once it has arrived.
	Stop bool
	// Over is true once what came of the request is known.
	Over bool
	// Failures counts failed attempts that are over.
	Failures int
	// NotBefore is when the instance may be sent again.
	NotBefore time.Time
	// Err is what came of the last attempt, in Nova's words.
	Err string
}

// Situation is all that a decision rests on.
type Situation struct {
	Now time.Time
	// Host is Nova's name of the host.
	Host string
	// Since is when this generation of the evacuation began, and Skew how much
	// Nova's clock is ahead of ours.
	Since time.Time
	Skew  time.Duration
	// Doubt is how many instances, the first in the order of sending, may have been
	// sent by an owner that died before Nova showed it; until DoubtUntil they are
	// left alone, and so are those that failed and would be sent again.
	Doubt      int
	DoubtUntil time.Time
	// Reason is the disabled_reason that names our claim.
	Reason string
	// WasDown is true once forced_down and Reason were read back in this run.
	WasDown bool
	// Awake is true where the host's nova-compute is seen alive.
	Awake bool
	// FailedOnRecord is how many instances the host's record says have failed. A
	// new owner takes the order of sending from Nova, which does not show what it
	// refused; the count on record tells it how many may stand before the frontier,
	// so it must not fall behind by more than unrecorded.
	FailedOnRecord int
	Snapshot       Snapshot
	Attempts       map[string]Attempt
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

// Instance is the verdict on one instance.
type Instance struct {
	ID, Name string
	State    State
	// Why explains the state in words, where there is something to explain.
	Why string
	// Dest is where it is being rebuilt, if known.
	Dest string
	// Reset is true where its vm_state has to be reset before it is sent.
	Reset bool
	// Began is when, by Nova's clock; zero where it is not being rebuilt.
	Began time.Time
}

// Plan is what to do now, and what to say.
type Plan struct {
	// ForceDown is true where Nova has to be told first that the host is down.
	// Nothing is sent before that was read back.
	ForceDown bool
	// Service is the host's nova-compute, as read.
	Service nova.Service
	// Sending is true where more may be sent as slots become free.
	Sending bool
	// Send holds the evacuations to send now, in order.
	Send []Send
	// Ask holds instances whose destination only placement can tell.
	Ask []string
	// Trace holds evacuations of which only their events can tell what keeps them.
	Trace []nova.Migration
	// Instances are the verdicts, in the order of sending.
	Instances []Instance
	// Done counts the instances that left the host in this generation.
	Done int
	// Settled is true when nothing is left to do.
	Settled bool
	// Wait says what it waits for, or what was left and why.
	Wait string
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

// clockMargin covers what is lost in whole seconds: those of Nova's created_at,
// of the Date header that gives the skew, and of the record's since.
const clockMargin = 3 * time.Second

// staleAccepted is the age from which an evacuation record that is accepted,
// while its instance has no task, belongs to a request that came to nothing: Nova
// sets the task before it makes the record (nova/compute/api.py, evacuate).
const staleAccepted = 30 * time.Second

// longRebuild is from when on a rebuild is named with what an operator can do: one
// whose destination's nova-compute was restarted in the middle goes on for ever in
// Nova, and nothing in its API tells it from one that copies a big disk.
const longRebuild = 20 * time.Minute

// queueTime is how long an evacuation is left to a destination that was fenced before
// it took it. The message waits in its queue; a cluster powers a fenced host on again
// at once, and its nova-compute takes the message up (seen on Nova 26.2). If it was
// sent elsewhere by then, both rebuild the instance.
const queueTime = 3 * time.Minute

// answerTime is from when on an evacuation that no destination has taken is traced: the
// conductor waits so long for the scheduler (rpc_response_timeout), and then gives up
// without a word to anybody.
const answerTime = time.Minute

// arrivalTime is how long Nova may take from the end of a rebuild's task to the change of
// the instance's host.
const arrivalTime = 30 * time.Second

// againTime is how long before a fencing the evacuation of an earlier one may have begun
// that is taken for the last that befell an instance.
const againTime = time.Hour

// sameSecond is how long an evacuation is left to a destination that took it in the
// very second in which it was fenced.
const sameSecond = time.Minute

// heartbeatLife is how long the scheduler may still choose a host that has fallen
// silent: Nova's service_down_time, by default a minute, and some more.
const heartbeatLife = 90 * time.Second

// Decide looks at a situation and says what to do. It is a pure function.
func Decide(s Situation, p Policy) Plan {
	var plan Plan
	service, found := find(s.Snapshot.Services, s.Host)
	if !found {
		plan.Wait = "Nova lists no nova-compute of this name any more"
		return plan
	}
	plan.Service = service
	services := byHost(s.Snapshot.Services)
	pasts := records(s)
	plan.Done = left(s, pasts)

	var fresh []int // indexes into plan.Instances
	waiting := 0
	servers := sorted(s.Snapshot.Servers)
	for _, server := range servers {
		past := pasts[server.ID]
		i := judge(server, past, services, s, p)
		if i.State == Waiting && len(past.own) == 0 {
			fresh = append(fresh, len(plan.Instances))
		}
		trace := toTrace(server, past, i, s)
		if i.State == Waiting {
			if waiting++; waiting > p.MaxInFlight {
				trace = nil // its turn comes later
			}
		}
		plan.Trace = append(plan.Trace, trace...)
		if i.State == Rebuilding && undecided(past, s) && (len(trace) > 0 || asksWhere(s, services)) {
			plan.Ask = append(plan.Ask, i.ID)
		}
		plan.Instances = append(plan.Instances, i)
	}
	doubt(&plan, fresh, s)

	// A request that is still under way for an instance that is not listed occupies
	// its slot as well: its answer alone says what became of it.
	listed := ids(servers)
	busy := plan.Count(Sent, Rebuilding)
	for _, i := range plan.Instances {
		// A lost answer holds its slot too: it bounds what a next owner cannot see.
		if i.State == Doubtful && !s.Attempts[i.ID].UnknownUntil.IsZero() {
			busy++
		}
	}
	for id, a := range s.Attempts {
		if a.Pending && !listed[id] {
			busy++
		}
	}
	// An operator's own disable stands in the place of our reason, and stays.
	// Evacuations of this generation show that the host was forced down before. If it is up
	// now, it was let in: the record is one of the past.
	letIn := !service.ForcedDown && service.Up && slices.ContainsFunc(slices.Collect(maps.Values(pasts)), func(p past) bool { return len(p.own) > 0 })
	plan.ForceDown = !nova.KnowsDown(service, s.Reason) && !s.WasDown && !letIn
	plan.Sending = service.ForcedDown && !plan.ForceDown && plan.Count(Failed)-s.FailedOnRecord <= p.unrecorded()
	if plan.Sending {
		for n, i := range plan.Instances {
			if i.State == Waiting && busy < p.MaxInFlight {
				own := pasts[i.ID].own
				plan.Send = append(plan.Send, Send{ID: i.ID, Dest: destination(servers[n], pasts[i.ID], plan, s), Again: servers[n].VMState == "error" && len(own) > 0, Reset: i.Reset})
				busy++
			}
		}
	}
	plan.Settled = service.ForcedDown && !plan.ForceDown && busy == 0 && plan.Count(Waiting, Doubtful, Failed) == 0
	plan.Wait, plan.Until = explain(plan, s)
	return plan
}

func find(services []nova.Service, host string) (nova.Service, bool) {
	for _, svc := range services {
		if svc.Host == host {
			return svc, true
		}
	}
	return nova.Service{}, false
}

// destination names where an instance is to be sent, and nothing where the choice is the
// scheduler's. Whose evacuation was under way on a host until an operator said that it is
// stuck may have a guest there, which nobody in Nova knows of: the destination's end of it
// is lost when the cell's database is away for that moment. Sent elsewhere, it would run
// twice; sent there again, the hypervisor finds the guest.
func destination(server nova.Server, past past, plan Plan, s Situation) string {
	if svc, known := find(s.Snapshot.Services, stuckOn(server, past, s).Dest); known && usable(svc) {
		return svc.Host
	}
	return elsewhere(past.own, plan, s)
}

// usable answers whether the scheduler gives instances to a host.
func usable(svc nova.Service) bool { return svc.Up && svc.Enabled }

// stuckOn is the evacuation on whose destination an instance may have a guest that Nova does
// not know of: the last one whose record does not say how it ended. It may be one of
// an earlier generation, and, for records cross, an older one than one that is accepted.
func stuckOn(server nova.Server, past past, s Situation) nova.Migration {
	exists := hasGuest(server)
	var last nova.Migration
	for _, m := range past.all {
		may := false
		switch course := s.Snapshot.Courses[m.ID]; m.Status {
		case "failed":
			may = exists
		case "pre-migrating":
			// Without an error as well: the database went away after the task had been cleared,
			// and before the host was changed.
			may = exists || server.VMState == "error" || len(past.own) == 0 && m.Created.After(s.Since.Add(s.Skew-againTime))
		case "completed":
			// Its source's nova-compute was started, whatever had become of the evacuation.
			may = (exists || server.VMState == "error") && course.Ended.IsZero() && !course.Failed && (len(past.own) > 0 || !course.Taken.IsZero())
		}
		if m.Source == s.Host && m.Dest != "" && may && (last.ID == 0 || m.Updated.After(last.Updated)) {
			last = m
		}
	}
	return last
}

// hasGuest answers whether an instance's last rebuild failed because its hypervisor has a
// guest of it already (nova/exception.py, InstanceExists).
func hasGuest(server nova.Server) bool {
	return strings.HasSuffix(strings.TrimSuffix(server.Fault, "."), "already exists")
}

// elsewhere names another destination for an instance whose last rebuild failed on
// one: left to itself the scheduler goes for the emptiest host, which is the one on
// which every rebuild fails. Nova still asks the scheduler whether the host will do
// (2.29 on). Where all have been tried, the choice is the scheduler's again.
func elsewhere(history []nova.Migration, plan Plan, s Situation) string {
	tried := map[string]bool{}
	for _, m := range history {
		if unsuccessful(m) {
			tried[m.Dest] = true
		}
	}
	if len(history) == 0 || history[0].Dest == "" || !tried[history[0].Dest] {
		return ""
	}
	load := map[string]int{}
	for _, i := range plan.Instances {
		load[i.Dest]++
	}
	for _, send := range plan.Send {
		load[send.Dest]++
	}
	best := ""
	for _, svc := range s.Snapshot.Services {
		if usable(svc) && svc.Host != s.Host && !tried[svc.Host] && (best == "" || load[svc.Host] < load[best]) {
			best = svc.Host
		}
	}
	return best
}

// sorted gives the order of sending, which a new owner must be able to compute
// again from Nova's answers alone.
func sorted(servers []nova.Server) []nova.Server {
	servers = slices.Clone(servers)
	slices.SortFunc(servers, func(a, b nova.Server) int { return cmp.Compare(a.ID, b.ID) })
	return servers
}

// byHost is for looking services up.
func byHost(services []nova.Service) map[string]nova.Service {
	by := make(map[string]nova.Service, len(services))
	for _, svc := range services {
		by[svc.Host] = svc
	}
	return by
}

// ids are those of the instances listed.
func ids(servers []nova.Server) map[string]bool {
	listed := make(map[string]bool, len(servers))
	for _, server := range servers {
		listed[server.ID] = true
	}
	return listed
}

// past is the evacuation records of one instance.
type past struct {
	// all have the host as their source or their destination, in no order.
	all []nova.Migration
	// own are those from the host of this generation, newest first. Older ones mean
	// little: some stay accepted or pre-migrating for ever (seen on Nova 26.2).
	own []nova.Migration
}

// records groups the evacuation records by instance.
func records(s Situation) map[string]past {
	by := map[string]past{}
	since := s.Since.Add(s.Skew - clockMargin)
	for _, m := range s.Snapshot.Evacuations {
		p := by[m.Instance]
		p.all = append(p.all, m)
		if m.Source == s.Host && !m.Created.Before(since) {
			p.own = append(p.own, m)
		}
		by[m.Instance] = p
	}
	for _, p := range by {
		slices.SortFunc(p.own, func(a, b nova.Migration) int { return cmp.Compare(b.ID, a.ID) })
	}
	return by
}

// unsuccessful answers whether a record says itself that its evacuation failed.
func unsuccessful(m nova.Migration) bool { return m.Status == "error" || m.Status == "failed" }

// shows answers whether Nova shows the record of an attempt's request, which proves
// that it took it, whatever the answer was.
func (p past) shows(a Attempt) bool { return len(p.own) > 0 && p.own[0].ID > a.LastRecord }

// left counts the instances with an evacuation of this generation that are not on
// the host any more. Its record may be open still: Nova changes the host first. One
// that was deleted is not counted, its records went with it.
func left(s Situation, pasts map[string]past) int {
	here := ids(s.Snapshot.Servers)
	n := 0
	for id, past := range pasts {
		if !here[id] && slices.ContainsFunc(past.own, func(m nova.Migration) bool { return !unsuccessful(m) }) {
			n++
		}
	}
	return n
}

// Learn draws from a new look at Nova what came of the requests that were answered
// before it, and returns the attempts so completed. An instance that is still on
// the host with nothing under way has failed, and gets a pause; one whose
// destination died has not failed, and gets none.
func Learn(s Situation, p Policy) map[string]Attempt {
	services, pasts, listed := byHost(s.Snapshot.Services), records(s), ids(s.Snapshot.Servers)
	learned := map[string]Attempt{}
	for _, server := range s.Snapshot.Servers {
		a, tried := s.Attempts[server.ID]
		if !tried {
			continue
		}
		learned[server.ID] = a
		if a.Pending || a.Over || !a.Answered.Before(s.Snapshot.Began) || server.Partial {
			continue
		}
		past := pasts[server.ID]
		shown := past.shows(a)
		if under, _ := underway(server, past, services, s); under || !shown && s.Now.Before(a.UnknownUntil) {
			continue
		}
		a.Over, a.UnknownUntil = true, time.Time{}
		if !shown || failed(server, past.own) || s.Snapshot.Courses[past.own[0].ID].Err != "" {
			a.Failures++
			a.NotBefore = s.Now.Add(p.Pause(a.Failures))
		}
		learned[server.ID] = a
	}
	for id, a := range s.Attempts {
		if !listed[id] && (a.Pending || !a.Answered.Before(s.Snapshot.Began)) {
			learned[id] = a
		}
	}
	return learned
}

// judge says what is to be thought of one instance that Nova has on the host.
func judge(server nova.Server, past past, services map[string]nova.Service, s Situation, p Policy) Instance {
	i := Instance{ID: server.ID, Name: server.Name}
	is := func(state State, why string) Instance {
		i.State, i.Why = state, why
		return i
	}
	a, tried := s.Attempts[server.ID]
	switch {
	case a.Pending:
		return is(Sent, "")
	case tried && !a.Answered.Before(s.Snapshot.Began):
		return is(Sent, "") // answered, but this look at Nova is older than the answer
	}

	if server.Partial {
		return is(Rebuilding, "its cell is down, Nova tells nothing of it")
	}
	if past.arrivedAfterFencing(s) {
		return is(Skipped, "it has come to the host after that was fenced: the host is on again and runs it")
	}
	if under, why := underway(server, past, services, s); under {
		for _, m := range past.all {
			if m.Source == s.Host && m.Created.After(i.Began) && goesOn(m, server, services, s) {
				i.Dest, i.Began = m.Dest, m.Created
			}
		}
		if to := headedFor(server.ID, s); i.Dest == "" && !leftOver(to, i.Began, services) {
			i.Dest = to
		}
		return is(Rebuilding, why)
	}
	if tried && !past.shows(a) && s.Now.Before(a.UnknownUntil) {
		return is(Doubtful, fmt.Sprintf("the answer to its request was lost; sent again after %s unless it shows", clock(a.UnknownUntil)))
	}
	if why := stays(server, past, p); why != "" {
		return is(Skipped, why)
	}

	failure := a.Err
	if len(past.own) > 0 && failed(server, past.own) {
		last := past.own[0]
		failure = cmp.Or(server.Fault, "its evacuation ended as "+last.Status)
		if last.Dest != "" {
			failure += " (on " + last.Dest + ")"
			if hasGuest(server) {
				failure += ": destroy that guest, and it is evacuated"
			}
		}
	} else if len(past.own) > 0 {
		failure = cmp.Or(lost(past.own[0], s, services), failure)
	}
	stuck := stuckOn(server, past, s)
	if stuck.Dest != "" {
		failure = cmp.Or(failure, "its evacuation to "+stuck.Dest+" has no end in Nova")
	}
	if s.Now.Before(a.NotBefore) {
		return is(Failed, cmp.Or(failure, "its evacuation came to nothing"))
	}
	if on, known := services[stuck.Dest]; known && !usable(on) && (!on.ForcedDown || claimedAfterFencing(stuck, services, s)) {
		return is(Failed, fmt.Sprintf("%s; it may run there: sent to %s again when that can be used, and elsewhere when it is fenced", failure, on.Host))
	}
	i.Reset = !server.Evacuable()
	return is(Waiting, failure)
}

// failed answers whether the last evacuation of an instance that is not under way any
// more has failed. Its record need not say so: where no host is valid, Nova marks the
// oldest record that is accepted, which may be another one's.
func failed(server nova.Server, history []nova.Migration) bool {
	return unsuccessful(history[0]) || server.VMState == "error" && server.TaskState == ""
}

// underway answers whether Nova may still be working on an instance's evacuation.
// An evacuation whose every destination is dead is not: nothing in Nova ends it
// (seen on Nova 26.2, the record stays pre-migrating for ever).
func underway(server nova.Server, past past, services map[string]nova.Service, s Situation) (bool, string) {
	open := false
	for _, m := range past.own {
		// Nova sets the host before the record is done, and the records were read first:
		// an instance that came back to a host that is down is impossible, one that is
		// not yet seen to have left is not.
		if m.Status == "done" {
			return true, "Nova has finished, its host is not seen to have changed yet"
		}
		open = open || goesOn(m, server, services, s)
	}
	// A moment before an evacuation's end its instance has no task any more, and its old
	// host still.
	rebuilding := strings.HasPrefix(server.TaskState, "rebuild") || server.TaskState == "" && s.Now.Add(s.Skew).Sub(server.Updated) < arrivalTime
	switch {
	case open:
		return true, ""
	case rebuilding && len(past.own) == 0:
		// Begun before this generation: by hand, or a user's own rebuild that the
		// host took with it. Nobody works on the latter, and Nova takes an evacuation
		// all the same, so it has to be told apart from the former by its record.
		return openBefore(server, past, services, s), "its evacuation was begun before the host was fenced"
	}
	return false, ""
}

// goesOn answers whether the evacuation of one record may still come to something.
func goesOn(m nova.Migration, server nova.Server, services map[string]nova.Service, s Situation) bool {
	if !m.Open() {
		return false
	}
	switch {
	case lost(m, s, services) != "":
		return false
	case server.TaskState == "" && server.VMState == "error" && (s.novaAge(m) > answerTime || s.Snapshot.Courses[m.ID].Failed):
		// Nova clears the task and says error when a rebuild has failed; an operator
		// does, with os-resetState, to say that one is stuck. Of one that was sent only now
		// he does not know yet.
		return false
	case m.Dest != "":
		// Accepted with a destination is one that was asked for by name: the scheduler
		// has still to look whether it lives.
		return !dead(m.Dest, services) || untaken(m) && s.Snapshot.Courses[m.ID].Taken.IsZero() && queued(m, s) || claimedAfterFencing(m, services, s)
	case headedForDead(m, s, services):
		return false
	}
	return m.Status != "accepted" || server.TaskState != "" || s.novaAge(m) <= staleAccepted
}

// queued answers whether an evacuation that no destination has taken may still come to
// something although its destination is dead: the conductor has it, or it waits for the
// destination and is left there for a while.
func queued(m nova.Migration, s Situation) bool {
	course, traced := s.Snapshot.Courses[m.ID]
	switch {
	case !traced:
		return true
	case course.Err == "" && course.Sent.IsZero():
		return s.novaAge(m) < longRebuild
	}
	return s.Now.Add(s.Skew).Sub(course.Sent) < queueTime
}

// untaken answers whether, as far as the record says, no destination has begun.
func untaken(m nova.Migration) bool { return m.Status == "accepted" || m.Status == "completed" }

// lost says how an evacuation that is accepted came to an end of which Nova says nothing,
// and nothing where it may go on.
//
// The conductor gives up when the scheduler does not answer, and writes that into an event
// only. And a nova-compute that is stopping takes messages with it (both seen on Nova
// 26.2). It takes them in the order in which they came, so one that was sent later and
// that it has begun shows that it will not take this one any more. It is given some time
// all the same, for a broker may deliver a message again that was not acknowledged.
func lost(m nova.Migration, s Situation, services map[string]nova.Service) string {
	course := s.Snapshot.Courses[m.ID]
	switch {
	case !untaken(m), !course.Taken.IsZero():
		return ""
	case course.Err != "":
		return "Nova gave its evacuation up: " + course.Err
	case course.Sent.IsZero() || s.Now.Add(s.Skew).Sub(course.Sent) < queueTime:
		return ""
	}
	to := cmp.Or(m.Dest, headedFor(m.Instance, s))
	if to == "" || !services[to].Up {
		return ""
	}
	for _, later := range s.Snapshot.Evacuations {
		if later.Dest == to && later.Instance != m.Instance && later.Created.After(course.Sent.Add(clockMargin)) &&
			(later.Status == "pre-migrating" || later.Status == "done") && s.Now.Add(s.Skew).Sub(later.Updated) > clockMargin {
			return to + " has lost its evacuation, it took later ones"
		}
	}
	return ""
}

// headedFor names the one host but the source on which an instance has room set aside.
func headedFor(id string, s Situation) string {
	headed := s.Snapshot.Headed[id]
	if n := slices.Index(headed, s.Host); n >= 0 && len(headed) == 2 {
		return headed[1-n]
	}
	return ""
}

// claimedAfterFencing answers whether a destination that is forced down has taken an
// evacuation after it was fenced: it was powered on again, its nova-compute has found
// the message that waited for it, and works on it (seen on Nova 26.2). When it was
// fenced stands in its disabled_reason, if that is ours.
func claimedAfterFencing(m nova.Migration, services map[string]nova.Service, s Situation) bool {
	fenced, ours := record.ParseReason(services[m.Dest].DisabledReason)
	if !ours || fenced.Since.IsZero() {
		return false
	}
	taken := m.Updated
	if untaken(m) {
		// The source's nova-compute was started, and wrote the record last; or the destination
		// has written another one, for they cross. When it began only the events tell.
		course, traced := s.Snapshot.Courses[m.ID]
		if !traced {
			return m.Status == "completed" && taken.After(fenced.Since.Add(s.Skew))
		}
		taken = course.Taken
	}
	// Both are whole seconds. In the same second it may have been either before the
	// host died or after: it is given its time.
	switch since := taken.Sub(fenced.Since.Add(s.Skew)); {
	case since >= time.Second:
		return true
	case since > -time.Second:
		return s.Now.Add(s.Skew).Sub(taken) < sameSecond
	}
	return false
}

// arrivedAfterFencing answers whether the instance is on the host by an evacuation
// that ended there after the host was fenced: the host was powered on again and took
// up what was waiting for it. (The record becomes done only after that.) However long
// the host is forced down, the guest runs there.
func (p past) arrivedAfterFencing(s Situation) bool {
	return slices.ContainsFunc(p.all, func(m nova.Migration) bool {
		if !mayHaveArrived(m, s) {
			return false
		}
		course := s.Snapshot.Courses[m.ID]
		return m.Status != "completed" || course.Ended.IsZero() || course.Ended.After(s.Since.Add(s.Skew+clockMargin))
	})
}

// mayHaveArrived answers whether a record alone speaks for an arrival after the fencing.
// One that is completed was written by its source's nova-compute last, at its start, and
// is to be traced.
func mayHaveArrived(m nova.Migration, s Situation) bool {
	return m.Dest == s.Host && !unsuccessful(m) && m.Updated.After(s.Since.Add(s.Skew+clockMargin))
}

// toTrace are the evacuations of an instance of which the events have to be asked.
func toTrace(server nova.Server, p past, i Instance, s Situation) []nova.Migration {
	inError := server.VMState == "error"
	return slices.DeleteFunc(slices.Clone(p.all), func(m nova.Migration) bool {
		switch {
		case m.Status == "completed" && mayHaveArrived(m, s):
			return false
		case m.Source != s.Host:
			return true
		case i.State == Waiting || i.State == Failed && !s.Now.Before(s.Attempts[server.ID].NotBefore):
			return !(inError && m.Status == "completed")
		case i.State == Rebuilding && inError && server.TaskState == "":
			return !m.Open()
		case i.State == Rebuilding:
			return !(m.Status == "completed" || m.Status == "accepted" && s.novaAge(m) > answerTime)
		}
		return true
	})
}

// openBefore answers whether an evacuation from before this generation goes on.
func openBefore(server nova.Server, past past, services map[string]nova.Service, s Situation) bool {
	return slices.ContainsFunc(past.all, func(m nova.Migration) bool { return m.Source == s.Host && goesOn(m, server, services, s) })
}

// novaAge is how old a record is by Nova's clock.
func (s Situation) novaAge(m nova.Migration) time.Duration {
	return s.Now.Add(s.Skew).Sub(m.Created)
}

// dead: somebody told Nova that the host is off. Nova believes it, and so do we:
// a host that merely does not answer may still be at work.
func dead(host string, services map[string]nova.Service) bool {
	svc, known := services[host]
	return host != "" && known && svc.ForcedDown
}

// headedForDead answers whether placement has set aside room for an evacuation only
// on hosts that are dead, apart from the source itself.
//
// The scheduler is given its time to choose.
func headedForDead(m nova.Migration, s Situation, services map[string]nova.Service) bool {
	if queued(m, s) {
		return false
	}
	others := 0
	for _, host := range s.Snapshot.Headed[m.Instance] {
		if host == s.Host || leftOver(host, m.Created, services) {
			continue
		}
		if !dead(host, services) {
			return false
		}
		others++
	}
	return others > 0
}

// leftOver answers whether room on a host is that of an earlier evacuation than the one
// that was accepted at a time: until nova-compute of the host that it came from runs
// again, an instance holds room there, and who was dead already cannot be a destination.
func leftOver(host string, accepted time.Time, services map[string]nova.Service) bool {
	return dead(host, services) && services[host].Updated.Before(accepted.Add(-heartbeatLife))
}

// undecided answers whether a record of the instance is open and names no
// destination. Another one may name one all the same: of two evacuations the later
// one's destination claims the earlier one's record (nova/db/main/api.py,
// migration_get_by_instance_and_status takes the first that is accepted).
func undecided(past past, s Situation) bool {
	return slices.ContainsFunc(past.all, func(m nova.Migration) bool {
		return m.Source == s.Host && (m.Status == "accepted" || m.Status == "completed") && m.Dest == ""
	})
}

// asksWhere: the destination matters only when a host died since.
func asksWhere(s Situation, services map[string]nova.Service) bool {
	for host := range services {
		if host != s.Host && dead(host, services) {
			return true
		}
	}
	return false
}

// stays says why an instance is not evacuated, and nothing where it is. Nova
// evacuates active, stopped and error, and refuses all else with 409
// (nova/compute/api.py, evacuate; tried state by state on Nova 26.2).
func stays(server nova.Server, past past, p Policy) string {
	switch {
	case server.VMState == "error" && p.LeaveError && len(past.own) == 0:
		return "it was in error, and leave_error is set"
	case !server.Evacuable() && !slices.Contains(p.ResetStates, server.VMState):
		return "Nova does not evacuate an instance that is " + server.VMState
	}
	if server.TaskState == "deleting" || server.TaskState == "soft-deleting" {
		return "its user has asked for its deletion, an evacuation would bring it back"
	}
	return ""
}

// doubt marks the instances for which a dead owner's request may be under way.
func doubt(plan *Plan, fresh []int, s Situation) {
	if s.Doubt == 0 || !s.Now.Before(s.DoubtUntil) {
		return
	}
	why := "the owner before may have sent it; sent again after " + clock(s.DoubtUntil) + " unless it shows"
	mark := func(i *Instance) {
		if _, ours := s.Attempts[i.ID]; !ours {
			i.State, i.Why = Doubtful, why
		}
	}
	for n, index := range fresh {
		if n < s.Doubt {
			mark(&plan.Instances[index])
		}
	}
	first := map[int]bool{}
	for _, index := range fresh {
		first[index] = true
	}
	for n := range plan.Instances {
		// What failed before was sent again out of the order, so any may be in doubt.
		if plan.Instances[n].State == Waiting && !first[n] {
			mark(&plan.Instances[n])
		}
	}
}

// explain puts the plan in words, the most important first.
func explain(plan Plan, s Situation) (string, time.Time) {
	var parts []string
	var until time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (until.IsZero() || t.Before(until)) {
			until = t
		}
	}
	switch {
	case plan.ForceDown:
		parts = append(parts, "Nova to take the host for down")
	case !plan.Service.ForcedDown:
		// Whoever cleared it takes the host for alive. It may well be, with its
		// instances running: nothing is sent until somebody says otherwise.
		parts = append(parts, "somebody to force the host down again: its forced_down was cleared while instances were left on it")
	}
	if n := len(plan.Instances) - plan.Count(Skipped); s.Awake && n > 0 {
		parts = append(parts, fmt.Sprintf("DANGER: nova-compute of %s runs while %d instances have not left, and destroys their disks: stop it, and put 'nova-evac gate' before it", s.Host, n))
	}
	where := map[string]int{}
	var oldest Instance
	for _, i := range plan.Instances {
		a := s.Attempts[i.ID]
		switch i.State {
		case Rebuilding:
			where[cmp.Or(i.Dest, "a destination to be chosen")]++
			if oldest.ID == "" || i.Began.Before(oldest.Began) {
				oldest = i
			}
		case Failed:
			sooner(a.NotBefore)
		case Doubtful:
			sooner(cmp.Or(a.UnknownUntil, s.DoubtUntil))
		}
	}
	if took := s.Now.Add(s.Skew).Sub(oldest.Began); !oldest.Began.IsZero() && took > longRebuild {
		do := fmt.Sprintf("if nova-compute of %s was restarted since, or Nova's database was away, it is stuck, and 'openstack server set --state error %s' has it sent again",
			cmp.Or(oldest.Dest, "its destination"), oldest.ID)
		if dest, known := find(s.Snapshot.Services, oldest.Dest); known && !dest.Up && !dest.ForcedDown {
			do = fmt.Sprintf("nova-compute of %s, which has it, does not run: start it, or have the host fenced", dest.Host)
		}
		parts = append(parts, fmt.Sprintf("%s for %s: %s", cmp.Or(oldest.Name, oldest.ID), took.Round(time.Minute), do))
	}
	if len(where) > 0 {
		var on []string
		for host, n := range where {
			on = append(on, fmt.Sprintf("%s %d", host, n))
		}
		slices.Sort(on)
		parts = append(parts, fmt.Sprintf("%d rebuilding (%s)", plan.Count(Rebuilding), strings.Join(on, ", ")))
	}
	if n := plan.Count(Sent) + len(plan.Send); n > 0 {
		parts = append(parts, fmt.Sprintf("%d sent", n))
	}
	if n := plan.Count(Waiting) - len(plan.Send); n > 0 {
		parts = append(parts, fmt.Sprintf("%d waiting for a slot", n))
	}
	for _, state := range []State{Failed, Doubtful, Skipped} {
		if n := plan.Count(state); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s, %s", n, state, example(plan.Instances, state)))
		}
	}
	return strings.Join(parts, "; "), until
}

// example names the first instance in a state, with its reason.
func example(instances []Instance, state State) string {
	for _, i := range instances {
		if i.State == state {
			return fmt.Sprintf("%s: %s", cmp.Or(i.Name, i.ID), i.Why)
		}
	}
	return ""
}

// clock is a moment as the record's reader finds it beside since and updated.
func clock(t time.Time) string { return t.UTC().Format("15:04:05Z") }
