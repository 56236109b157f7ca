package ownership

import "github.com/nova-evac/nova-evac/pkg/nova"

// Telling says what Nova has to be told of a fenced host whose service it shows: that the
// host is down, and, unless disable is empty, that the service is disabled for that reason.
// It takes nothing from an operator: a service that somebody else has disabled keeps its
// reason. needed is false where Nova knows all of it.
func Telling(service nova.Service, reason string) (disable string, needed bool) {
	if service.Enabled || service.Ours() && service.DisabledReason != reason {
		disable = reason
	}
	return disable, !service.ForcedDown || disable != ""
}
