package api

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/nova-evac/nova-evac/pkg/novasim"
)

func serverBody(r *request, i novasim.Server) map[string]any {
	body := map[string]any{"id": i.ID, "name": i.Name, "status": i.Status, "tenant_id": tenant, "user_id": "u-tenant",
		"metadata": map[string]string{}, "addresses": map[string]any{}, "image": "", "key_name": nil, "config_drive": "",
		"hostId": "", "OS-EXT-AZ:availability_zone": "nova", "OS-DCF:diskConfig": "MANUAL", "accessIPv4": "", "accessIPv6": "",
		"OS-EXT-SRV-ATTR:host": nullable(i.Host), "OS-EXT-SRV-ATTR:hypervisor_hostname": nullable(i.Host),
		"OS-EXT-SRV-ATTR:instance_name": i.Name, "OS-EXT-STS:vm_state": i.VMState, "OS-EXT-STS:task_state": nullable(i.TaskState),
		"OS-EXT-STS:power_state": i.PowerState, "OS-SRV-USG:launched_at": dbTime(i.Created), "OS-SRV-USG:terminated_at": nil,
		"created": isoTime(i.Created), "updated": isoTime(i.Updated), "links": links("self", r.base+"/v2.1/servers/"+i.ID),
		"flavor": map[string]any{"id": "1", "links": links("bookmark", r.base+"/flavors/1")}}
	if i.Host != "" {
		body["hostId"] = hostID(i.Host)
	}
	if i.Fault != "" {
		body["fault"] = map[string]any{"code": 500, "message": i.Fault, "created": isoTime(i.FaultAt)}
	}
	if i.Status == "ACTIVE" || i.Status == "REBUILD" {
		body["progress"] = 0
	}
	if r.version >= 9 {
		body["locked"] = i.Locked
	}
	if r.version >= 16 {
		body["host_status"] = i.HostStatus
	}
	if r.version >= 19 {
		body["description"] = nil
	}
	if r.version >= 26 {
		body["tags"] = []string{}
	}
	if r.version >= 47 {
		body["flavor"] = map[string]any{"original_name": "m1.tiny", "vcpus": 1, "ram": 512, "disk": 1, "ephemeral": 0, "swap": 0,
			"extra_specs": map[string]string{}}
	}
	if r.version >= 73 {
		body["locked_reason"] = nil
	}
	return body
}

// serverQuery are the keys of 2.75 on that are modelled, and those that change nothing.
var serverQuery = []string{"host", "status", "name", "all_tenants", "limit", "marker", "project_id", "tenant_id", "sort_key", "sort_dir"}

func (s *Server) listServersBriefly(r *request) reply {
	answer := s.listServers(r)
	full, is := answer.body.(map[string]any)
	list, _ := full["servers"].([]any)
	if !is {
		return answer
	}
	for n, s := range list {
		s := s.(map[string]any)
		list[n] = map[string]any{"id": s["id"], "name": s["name"], "links": s["links"]}
	}
	return answer
}

func (s *Server) listServers(r *request) reply {
	q := r.URL.Query()
	if err := unknownKeys(q, serverQuery); r.version >= 75 && err != nil {
		return refused(err)
	}
	list, err := s.selectServers(q)
	if err != nil {
		return refused(err)
	}
	list, full, err := page(list, func(i novasim.Server) string { return i.ID }, q, s.cfg.PageLimit, "marker [%s] not found")
	if err != nil {
		return refused(err)
	}
	bodies := []any{}
	for _, i := range list {
		bodies = append(bodies, serverBody(r, i))
	}
	answer := map[string]any{"servers": bodies}
	if full {
		answer["servers_links"] = nextPage(r, list[len(list)-1].ID)
	}
	return ok(answer)
}

// selectServers gives the servers that a query asks for, newest first.
func (s *Server) selectServers(q url.Values) (list []novasim.Server, err error) {
	name, err := regexp.Compile(q.Get("name"))
	if err != nil {
		return nil, novasim.Refuse(400, "Invalid input for query parameters name. Value: %s.", q.Get("name"))
	}
	all := q.Has("all_tenants") && slices.Contains([]string{"", "1", "t", "true", "on", "y", "yes"}, strings.ToLower(q.Get("all_tenants")))
	if !all || !wanted(q, "project_id", tenant) || !wanted(q, "tenant_id", tenant) {
		return nil, nil // the administrator's own project, or another one: they have none
	}
	for _, i := range slices.Backward(s.cloud.Servers(q.Get("host"))) {
		if name.MatchString(i.Name) && (!q.Has("status") || slices.ContainsFunc(q["status"], func(s string) bool { return strings.EqualFold(s, i.Status) })) {
			list = append(list, i)
		}
	}
	return list, nil
}

func (s *Server) showServer(r *request) reply {
	i, err := s.cloud.Server(r.PathValue("id"))
	if err != nil {
		return refused(err)
	}
	return ok(map[string]any{"server": serverBody(r, i)})
}

func (s *Server) deleteServer(r *request) reply {
	if err := s.cloud.Delete(r.PathValue("id")); err != nil {
		return refused(err)
	}
	return reply{code: http.StatusNoContent}
}

// serverActions are the actions of POST /servers/{id}/action but evacuate.
var serverActions = map[string]func(c *novasim.Cloud, id, request string, body json.RawMessage) error{
	"os-stop":  bare((*novasim.Cloud).Stop),
	"os-start": bare((*novasim.Cloud).Start),
	"pause":    bare((*novasim.Cloud).Pause),
	"suspend":  bare((*novasim.Cloud).Suspend),
	"rescue":   bare((*novasim.Cloud).Rescue),
	"shelve":   bare((*novasim.Cloud).Shelve),
	"lock":     bare((*novasim.Cloud).Lock),
	"unlock":   bare((*novasim.Cloud).Unlock),
	"migrate": func(c *novasim.Cloud, id, request string, body json.RawMessage) error {
		var to struct {
			Host string `json:"host"`
		}
		if err := strict(body, &to); err != nil {
			return err
		}
		return c.Migrate(id, to.Host, request)
	},
	"os-resetState": func(c *novasim.Cloud, id, request string, body json.RawMessage) error {
		var to struct {
			State string `json:"state"`
		}
		if err := strict(body, &to); err != nil {
			return err
		}
		return c.ResetState(id, to.State, request)
	},
}

// bare is an action that looks at no body.
func bare(do func(c *novasim.Cloud, id, request string) error) func(*novasim.Cloud, string, string, json.RawMessage) error {
	return func(c *novasim.Cloud, id, request string, _ json.RawMessage) error { return do(c, id, request) }
}

// postAction is POST /servers/{id}/action. All answer 202 but evacuate and rescue.
func (s *Server) postAction(r *request) reply {
	var body map[string]json.RawMessage
	if err := r.decode(&body); err != nil {
		return refused(err)
	}
	if len(body) != 1 {
		return refuse(400, "There is no such action: %s", strings.Join(sortedKeys(body), ", "))
	}
	id, name := r.PathValue("id"), sortedKeys(body)[0]
	if _, err := s.cloud.Server(id); err != nil { // before anything is said about the body
		return refused(err)
	}
	if name == "evacuate" {
		return s.postEvacuate(r, id, body[name])
	}
	do, known := serverActions[name]
	if !known {
		return refuse(400, "There is no such action: %s", name)
	}
	if err := do(s.cloud, id, r.id, body[name]); err != nil {
		return refused(err)
	}
	if name == "rescue" {
		return ok(map[string]any{"adminPass": "simulated"})
	}
	return reply{code: http.StatusAccepted}
}

// evacuation is the body of an evacuation.
type evacuation struct {
	Host            *string `json:"host"`
	Force           *bool   `json:"force"`
	AdminPass       *string `json:"adminPass"`
	OnSharedStorage *bool   `json:"onSharedStorage"`
}

// check refuses a body that the schema of a microversion does not allow.
func (e evacuation) check(version int, text json.RawMessage) error {
	unexpected := func(key string) error {
		return novasim.Refuse(400, "Invalid input for field/attribute evacuate. Value: %s. Additional properties are not allowed ('%s' was unexpected)", text, key)
	}
	switch {
	case e.Force != nil && (version < 29 || version >= 68):
		return unexpected("force")
	case e.OnSharedStorage != nil && version >= 14:
		return unexpected("onSharedStorage")
	case e.OnSharedStorage == nil && version < 14:
		return novasim.Refuse(400, "Invalid input for field/attribute evacuate. Value: %s. 'onSharedStorage' is a required property", text)
	case e.Host != nil && *e.Host == "":
		return novasim.Refuse(400, "Invalid input for field/attribute host. Value: . '' is too short")
	}
	return nil
}

// postEvacuate answers 200 without a body, below 2.14 with a password
// (nova/api/openstack/compute/evacuate.py).
func (s *Server) postEvacuate(r *request, id string, text json.RawMessage) reply {
	var body evacuation
	err := strict(text, &body)
	if err == nil {
		err = body.check(r.version, text)
	}
	if err != nil {
		return refused(err)
	}
	target, forced := "", body.Force != nil && *body.Force
	if body.Host != nil {
		target = *body.Host
		forced = forced || r.version < 29 // then a host that is named is forced, too
	}
	if err := s.cloud.Evacuate(id, target, forced, r.id); err != nil {
		return refused(err)
	}
	if r.version < 14 {
		return ok(map[string]any{"adminPass": "simulated"})
	}
	return reply{code: http.StatusOK}
}

// hostID is how Nova hides a host's name from users.
func hostID(host string) string { return fmt.Sprintf("%x", sha256.Sum224([]byte(tenant+host))) }
