package evacuate

import (
	"github.com/nova-evac/nova-evac/pkg/history"
)

// Comparison is one look at Nova with all that was decided on it.
type Comparison struct {
	Policy Policy
	// Asked is the look before, and Answered the look after the questions were answered; they
	// are the same where there were none.
	Asked, Answered history.Look
	// Situation is the one on which the plan was made.
	Situation Situation
	// Prior are the attempts before the look, First what was learned of them before the
	// questions, and Retried the same after pauses were ended.
	Prior, First, Retried map[string]Attempt
	Questions             Questions
	Plan                  Plan
	Words                 string
}

// Compared, if set, is called with every comparison. It is for the proof that two engines
// decide the same.
var Compared func(Comparison)
