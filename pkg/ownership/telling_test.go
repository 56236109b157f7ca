package ownership

import (
	"testing"

	"github.com/nova-evac/nova-evac/pkg/nova"
)

func TestNovaIsToldNothingThatTakesAnOperatorsDisableAway(t *testing.T) {
	const reason = "nova-evac gen=2"
	for _, c := range []struct {
		name    string
		service nova.Service
		disable string
		needed  bool
	}{
		{"a service that is up is disabled too", nova.Service{Enabled: true}, reason, true},
		{"one that was forced down and enabled is disabled", nova.Service{Enabled: true, ForcedDown: true}, reason, true},
		{"a reason of ours is renewed", nova.Service{DisabledReason: "nova-evac gen=1", ForcedDown: true}, reason, true},
		{"a reason of ours stays that is right, where forced_down was cleared", nova.Service{DisabledReason: reason}, "", true},
		{"an operator's disable stays", nova.Service{DisabledReason: "bad DIMM"}, "", true},
		{"a disable without a reason stays", nova.Service{}, "", true},
		{"Nova knows it all", nova.Service{DisabledReason: reason, ForcedDown: true}, "", false},
		{"Nova knows it, and the disable is an operator's", nova.Service{DisabledReason: "bad DIMM", ForcedDown: true}, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if disable, needed := Telling(c.service, reason); disable != c.disable || needed != c.needed {
				t.Errorf("%q, %v", disable, needed)
			}
		})
	}
}
