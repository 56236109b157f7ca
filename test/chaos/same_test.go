package chaos

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nova-evac/nova-evac/internal/formerly"
	"github.com/nova-evac/nova-evac/pkg/evacuate"
	"github.com/nova-evac/nova-evac/pkg/history"
)

// sameness counts the looks on which the engine and the former one were compared.
var sameness struct {
	looks, traced, asked, sent, failed atomic.Int64
	mu                                 sync.Mutex
	differences                        []string
}

func init() { evacuate.Compared = compare }

// compare has the former engine decide on a look, too.
func compare(c evacuate.Comparison) {
	var differences []string
	same := func(what string, former, now any) {
		if diff := cmp.Diff(former, now); diff != "" {
			differences = append(differences, what+": "+diff)
		}
	}
	policy := formerly.Policy{MaxInFlight: c.Policy.MaxInFlight, APITime: c.Policy.APITime, RetryMin: c.Policy.RetryMin, RetryMax: c.Policy.RetryMax,
		LeaveError: c.Policy.LeaveError, ResetStates: c.Policy.ResetStates}
	s := situation(c, c.Asked)
	s.Attempts = attempts(c.Prior)
	same("learned first", formerly.Learn(s, policy), attempts(c.First))
	s.Attempts = attempts(c.Retried)
	plan := formerly.Decide(s, policy)
	same("asked", plan.Ask, c.Questions.Headed)
	same("traced", plan.Trace, c.Questions.Trace)
	if len(plan.Ask)+len(plan.Trace) > 0 {
		s = situation(c, c.Answered)
		s.Attempts = attempts(c.Retried)
		s.Attempts = formerly.Learn(s, policy)
		plan = formerly.Decide(s, policy)
	}
	same("learned", s.Attempts, attempts(c.Situation.Attempts))
	same("plan", facts(plan.ForceDown, plan.Service, plan.Sending, plan.Done, plan.Settled, plan.Returned, plan.LetIn, plan.Held, plan.Begun, plan.Until),
		facts(c.Plan.ForceDown, c.Plan.Service, c.Plan.Sending, c.Plan.Done, c.Plan.Settled, c.Plan.Returned, c.Plan.LetIn, c.Plan.Held, c.Plan.Begun, c.Plan.Until))
	if !plan.Returned { // the names in it stand in another order
		same("words", plan.Wait, c.Words)
	}
	var former, now, formerlySent, sent []string
	for _, i := range plan.Instances {
		former = append(former, fmt.Sprint(i.ID, i.Name, i.State, i.Dest, i.Reset, history.Stamp(i.Began), i.State == formerly.Waiting && i.Why == ""))
	}
	for _, i := range c.Plan.Instances {
		now = append(now, fmt.Sprint(i.ID, i.Name, i.State, i.Dest, i.Reset, i.Began, i.State == evacuate.Waiting && i.Reason == evacuate.NoReason))
	}
	same("instances", former, now)
	for _, one := range plan.Send {
		formerlySent = append(formerlySent, fmt.Sprintf("%+v", one))
	}
	for _, one := range c.Plan.Send {
		sent = append(sent, fmt.Sprintf("%+v", one))
	}
	same("sent", formerlySent, sent)
	sameness.looks.Add(1)
	sameness.asked.Add(int64(len(c.Questions.Headed)))
	sameness.traced.Add(int64(len(c.Questions.Trace)))
	sameness.sent.Add(int64(len(sent)))
	if len(differences) > 0 {
		sameness.failed.Add(1)
		sameness.mu.Lock()
		defer sameness.mu.Unlock()
		if len(sameness.differences) < 10 {
			sameness.differences = append(sameness.differences, differences...)
		}
	}
}

func facts(all ...any) []string {
	var texts []string
	for _, one := range all {
		texts = append(texts, fmt.Sprintf("%+v", one))
	}
	return texts
}

// situation is a look as the former engine was given it.
func situation(c evacuate.Comparison, look history.Look) formerly.Situation {
	return formerly.Situation{
		Now: c.Situation.Now, Host: look.Host, Since: look.Since, Skew: look.Clock.Ahead, Doubt: c.Situation.Doubt, DoubtUntil: c.Situation.DoubtUntil,
		Reason: c.Situation.Reason, WasDown: c.Situation.WasDown, Beat: c.Situation.Beat, Source: formerly.Source(c.Situation.Source), Back: look.Back,
		FailedOnRecord: c.Situation.FailedOnRecord,
		Snapshot: formerly.Snapshot{Began: look.Began, Services: slices.Clone(look.Services), Evacuations: slices.Clone(look.Evacuations), Servers: slices.Clone(look.Servers),
			Headed: look.Headed, Courses: look.Courses},
	}
}

func attempts(of map[string]evacuate.Attempt) map[string]formerly.Attempt {
	all := map[string]formerly.Attempt{}
	for id, a := range of {
		all[id] = formerly.Attempt{Pending: a.Pending, Answered: a.Answered, UnknownUntil: a.UnknownUntil, LastRecord: a.LastRecord, Stop: a.Stop, Over: a.Over,
			Failures: a.Failures, NotBefore: a.NotBefore, Err: a.Err}
	}
	return all
}

// sayHowManyLooksWereCompared fails where the former engine would have done anything else.
func sayHowManyLooksWereCompared(t *testing.T) {
	t.Logf("%d looks were compared: %d evacuations sent, %d traced, %d asked of placement; %d looks differ", sameness.looks.Load(), sameness.sent.Load(),
		sameness.traced.Load(), sameness.asked.Load(), sameness.failed.Load())
	for _, d := range sameness.differences {
		t.Error(d)
	}
}
