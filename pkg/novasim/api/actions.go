package api

import (
	"slices"

	"github.com/nova-evac/nova-evac/pkg/novasim"
)

// actions gives the instance's actions, since 2.21 also those of a deleted one.
func (s *Server) actions(r *request) ([]novasim.Action, error) {
	return s.cloud.Actions(r.PathValue("id"), r.version >= 21)
}

func (s *Server) listActions(r *request) reply {
	actions, err := s.actions(r)
	if err != nil {
		return refused(err)
	}
	list := []any{}
	for _, a := range actions {
		list = append(list, actionBody(r, a))
	}
	return ok(map[string]any{"instanceActions": list})
}

func (s *Server) showAction(r *request) reply {
	actions, err := s.actions(r)
	if err != nil {
		return refused(err)
	}
	at := slices.IndexFunc(actions, func(a novasim.Action) bool { return a.Request == r.PathValue("request_id") })
	if at < 0 {
		return refuse(404, "Action %s not found", r.PathValue("request_id"))
	}
	events := []any{}
	for _, e := range actions[at].Events {
		body := map[string]any{"event": e.Name, "start_time": dbTime(e.Started), "finish_time": dbTime(e.Finished),
			"result": nullable(e.Result), "traceback": nil}
		if r.version >= 62 {
			body["host"], body["hostId"] = e.Host, hostID(e.Host)
		}
		if r.version >= 84 {
			body["details"] = nullable(e.Details)
		}
		events = append(events, body)
	}
	body := actionBody(r, actions[at])
	body["events"] = events
	return ok(map[string]any{"instanceAction": body})
}

func actionBody(r *request, a novasim.Action) map[string]any {
	message := ""
	if a.Failed {
		message = "Error"
	}
	body := map[string]any{"action": a.Name, "instance_uuid": r.PathValue("id"), "request_id": a.Request, "user_id": "u-admin", "project_id": adminProject,
		"start_time": dbTime(a.Started), "message": nullable(message)}
	if r.version >= 58 {
		body["updated_at"] = dbTime(a.Updated)
	}
	return body
}
