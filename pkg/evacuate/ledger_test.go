package evacuate

import (
	"slices"
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/pkg/nova"
)

// Between two looks nothing is asked about an instance. So one that may have a guest
// somewhere is not sent then.
func TestWhatHasToBeAskedAboutIsSentAtALookOnly(t *testing.T) {
	s := at(func(s *scene) {
		s.WasDown = true
		failed := server("d")
		failed.VMState = "error"
		s.Snapshot.Servers = []nova.Server{server("a"), server("b"), server("c"), failed, server("e")}
		before := evacuation(1, "d", "completed", "d1")
		before.Created = t0.Add(-time.Minute)
		before.Updated = t0.Add(-30 * time.Second)
		s.Snapshot.Evacuations = []nova.Migration{before}
	})
	situation := s.situation()
	l := NewLedger(policy)
	l.planned(Decide(situation, policy), situation.History, s.Now)
	if !slices.Equal(l.queue, []string{"c", "e"}) {
		t.Errorf("the glances may send %v", l.queue)
	}
}

func TestASlotIsFreeWhenNovaRebuildsNoMore(t *testing.T) {
	s := at(func(s *scene) {
		s.WasDown = true
		s.Snapshot.Servers = []nova.Server{server("a"), server("b"), server("c"), server("d")}
	})
	situation := s.situation()
	plan := Decide(situation, policy)
	l := NewLedger(policy)
	l.planned(plan, situation.History, s.Now)
	for _, send := range plan.Send {
		l.send(send.ID, false, s.Now)
	}
	if _, found := l.next(nil, policy, s.Now); found || l.maySend("a", s.Now) || !l.Open(s.Now) {
		t.Error("sent beyond the slots, or beside a request that is out")
	}
	l.answered(answer{id: "a"}, policy, s.Now)
	l.answered(answer{"b", &nova.Error{Kind: nova.ErrUnknownOutcome}}, policy, s.Now)
	later := s.Now.Add(10 * time.Second)
	l.glanced(map[string]bool{"a": true}, later, later)
	if id, found := l.next(nil, policy, later); found {
		t.Errorf("%s was sent while one is rebuilt and one may be", id)
	}
	l.refused = false // a look was taken
	l.glanced(map[string]bool{}, later, later)
	if id, _ := l.next(map[string]bool{"c": true}, policy, later); id != "d" {
		t.Errorf("%q is sent; c is sent by somebody else", id)
	}
	if l.maySend("b", later) || !l.maySend("b", s.Now.Add(policy.APITime)) {
		t.Error("a lost answer holds its instance back until it can no longer take effect")
	}
}
