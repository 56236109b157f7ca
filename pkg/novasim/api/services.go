package api

import (
	"regexp"

	"github.com/nova-evac/nova-evac/pkg/novasim"
)

// stateOf is Nova's word for what it thinks of a service.
func stateOf(service novasim.Service) string {
	if service.Up {
		return "up"
	}
	return "down"
}

func serviceBody(r *request, service novasim.Service) map[string]any {
	body := map[string]any{"binary": "nova-compute", "host": service.Host, "zone": "nova", "status": service.Status, "state": stateOf(service),
		"disabled_reason": nullable(service.DisabledReason), "updated_at": dbTime(service.Updated)}
	return identified(r, body, service.Number, service.ID, service.ForcedDown)
}

// identified gives a service its id and the fields that microversions added.
func identified(r *request, body map[string]any, number int, id string, forced bool) map[string]any {
	body["id"] = number
	if r.version >= 53 {
		body["id"] = id
	}
	if r.version >= 11 {
		body["forced_down"] = forced
	}
	return body
}

// controllers are the services of the controller, which a list without a binary has.
var controllers = []struct{ binary, id string }{
	{"nova-conductor", "00000000-0000-4000-a000-0000000000c0"}, {"nova-scheduler", "00000000-0000-4000-a000-0000000000c5"},
}

func (s *Server) listServices(r *request) reply {
	q := r.URL.Query()
	list := []any{}
	for n, c := range controllers {
		if wanted(q, "host", "controller") && wanted(q, "binary", c.binary) {
			list = append(list, identified(r, map[string]any{"binary": c.binary, "host": "controller", "zone": "internal", "status": "enabled",
				"state": "up", "disabled_reason": nil, "updated_at": dbTime(r.now)}, 1000+n, c.id, false))
		}
	}
	for _, service := range s.cloud.Services() {
		if wanted(q, "host", service.Host) && wanted(q, "binary", "nova-compute") {
			list = append(list, serviceBody(r, service))
		}
	}
	return ok(map[string]any{"services": list})
}

// find finds the service of which something is true.
func (s *Server) find(is func(novasim.Service) bool) (novasim.Service, bool) {
	for _, service := range s.cloud.Services() {
		if is(service) {
			return service, true
		}
	}
	return novasim.Service{}, false
}

var uuidLike = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

func (s *Server) putService(r *request) reply {
	id := r.PathValue("id")
	if r.version < 53 {
		return s.putServiceAction(r, id)
	}
	if !uuidLike.MatchString(id) {
		return refuse(400, "Invalid uuid %s", id)
	}
	var change novasim.ServiceChange
	if err := strict(r.body, &change); err != nil {
		return refused(err)
	}
	for _, c := range controllers {
		if c.id == id {
			return noCompute(c.binary)
		}
	}
	withID := func(s novasim.Service) bool { return s.ID == id }
	service, found := s.find(withID)
	if !found {
		return refuse(404, "Service %s could not be found.", id)
	}
	if err := s.cloud.SetService(service.Host, change); err != nil {
		return refused(err)
	}
	service, _ = s.find(withID)
	return ok(map[string]any{"service": serviceBody(r, service)})
}

func noCompute(binary string) reply {
	return refuse(400, "Updating a %s service is not supported. Only nova-compute services can be updated.", binary)
}

// serviceAction is the body of PUT /os-services/enable and so on, below 2.53.
type serviceAction struct {
	Host           string  `json:"host"`
	Binary         string  `json:"binary"`
	DisabledReason *string `json:"disabled_reason"`
	ForcedDown     *bool   `json:"forced_down"`
}

// change is what an action asks for.
func (a serviceAction) change(r *request, action string) (novasim.ServiceChange, error) {
	enabled, disabled := "enabled", "disabled"
	switch {
	case action == "enable":
		return novasim.ServiceChange{Status: &enabled}, nil
	case action == "disable":
		return novasim.ServiceChange{Status: &disabled}, nil
	case action == "disable-log-reason" && a.DisabledReason == nil:
		return novasim.ServiceChange{}, novasim.Refuse(400, "Missing disabled reason field")
	case action == "disable-log-reason":
		return novasim.ServiceChange{Status: &disabled, DisabledReason: a.DisabledReason}, nil
	case action == "force-down" && r.version >= 11 && a.ForcedDown == nil:
		return novasim.ServiceChange{}, novasim.Refuse(400, "Missing forced_down field")
	case action == "force-down" && r.version >= 11:
		return novasim.ServiceChange{ForcedDown: a.ForcedDown}, nil
	}
	return novasim.ServiceChange{}, novasim.Refuse(404, "Unknown action")
}

func (s *Server) putServiceAction(r *request, action string) reply {
	var body serviceAction
	if err := strict(r.body, &body); err != nil {
		return refused(err)
	}
	change, err := body.change(r, action)
	if err != nil {
		return refused(err)
	}
	if body.Binary != "nova-compute" {
		return noCompute(body.Binary)
	}
	if _, found := s.find(func(s novasim.Service) bool { return s.Host == body.Host }); !found {
		return refuse(404, "Host '%s' is not mapped to any cell", body.Host)
	}
	if err := s.cloud.SetService(body.Host, change); err != nil {
		return refused(err)
	}
	// The answer has what was asked for, and nothing else.
	answer := map[string]any{"host": body.Host, "binary": body.Binary}
	if change.Status != nil {
		answer["status"] = *change.Status
	}
	if change.DisabledReason != nil {
		answer["disabled_reason"] = *change.DisabledReason
	}
	if change.ForcedDown != nil {
		answer["forced_down"] = *change.ForcedDown
	}
	return ok(map[string]any{"service": answer})
}
