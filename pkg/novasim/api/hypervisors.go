package api

import (
	"strconv"
	"strings"

	"github.com/nova-evac/nova-evac/pkg/novasim"
)

func hypervisorBody(r *request, s novasim.Service) map[string]any {
	body := map[string]any{"id": s.Number, "hypervisor_hostname": s.Host, "state": stateOf(s), "status": s.Status}
	service := map[string]any{"id": s.Number, "host": s.Host, "disabled_reason": nullable(s.DisabledReason)}
	if r.version >= 53 {
		body["id"], service["id"] = s.Hypervisor, s.ID
	}
	if r.URL.Path != "/v2.1/os-hypervisors" { // the short list has no service
		body["service"] = service
		body["host_ip"], body["hypervisor_type"] = "192.0.2.1", "fake"
	}
	return body
}

func (s *Server) listHypervisors(r *request) reply {
	pattern := r.URL.Query().Get("hypervisor_hostname_pattern")
	list := []any{}
	for _, service := range s.cloud.Services() {
		if strings.Contains(service.Host, pattern) {
			if strings.HasSuffix(r.URL.Path, "/detail") && noUptime(r, service) {
				return refuse(500, uptimeTimeout)
			}
			list = append(list, hypervisorBody(r, service))
		}
	}
	if pattern != "" && len(list) == 0 {
		return refuse(404, "No hypervisor matching '%s' could be found.", pattern)
	}
	return ok(map[string]any{"hypervisors": list})
}

// noUptime reports whether Nova would ask a host for its uptime, as it does since 2.88, and
// get no answer. It does not take the minute of Nova's RPC timeout.
func noUptime(r *request, s novasim.Service) bool { return r.version >= 88 && s.Up && !s.Answers }

const uptimeTimeout = "Unexpected API Error. Please report this at http://bugs.launchpad.net/nova/ and attach the Nova API log if possible.\n" +
	"<class 'oslo_messaging.exceptions.MessagingTimeout'>"

func (s *Server) showHypervisor(r *request) reply {
	id := r.PathValue("id")
	service, found := s.find(func(s novasim.Service) bool {
		return r.version >= 53 && id == s.Hypervisor || r.version < 53 && id == strconv.Itoa(s.Number)
	})
	switch {
	case !found:
		return refuse(404, "Hypervisor with ID '%s' could not be found.", id)
	case noUptime(r, service):
		return refuse(500, uptimeTimeout)
	}
	return ok(map[string]any{"hypervisor": hypervisorBody(r, service)})
}
