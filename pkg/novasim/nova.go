package novasim

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nova-evac/nova-evac/pkg/nova"
)

// adminProject and tenant are the projects of the administrator and of the instances: a
// list without all_tenants is empty.
const (
	adminProject = "5f6d1b2e4c1a4a0f8f0a2d5f3f0e7a11"
	tenant       = "9a1c3de0b7f24b63a2f6c1d84e5b7a22"
)

// nova wraps a handler of Nova's: token, microversion, policy, headers.
func (c *Cloud) nova(handle func(*request) reply) func(*request) reply {
	return c.withToken(func(r *request) (answer reply) {
		headers := map[string]string{"X-Openstack-Request-Id": r.id, "X-Compute-Request-Id": r.id}
		defer func() { answer.headers = headers }()
		version, refused := c.microversion(r.Header)
		if refused != nil {
			return refused.reply()
		}
		r.version = version
		text := fmt.Sprintf("2.%d", version)
		headers["OpenStack-API-Version"], headers["X-OpenStack-Nova-API-Version"] = "compute "+text, text
		headers["Vary"] = "OpenStack-API-Version, X-OpenStack-Nova-API-Version"
		if !r.admin {
			return refuse(403, "Policy doesn't allow %s to be performed.", rule(r)).reply()
		}
		if c.away {
			return refuse(500, "Unexpected API Error. Please report this at http://bugs.launchpad.net/nova/ and attach the Nova API log if possible.\n<class 'TypeError'>").reply()
		}
		return handle(r)
	})
}

// rule names the policy that refuses a request of a user that is no administrator.
func rule(r *request) string {
	switch {
	case isEvacuation(r.body):
		return "os_compute_api:os-evacuate"
	case strings.Contains(r.URL.Path, "/os-services"):
		return "os_compute_api:os-services"
	case strings.Contains(r.URL.Path, "/os-migrations"):
		return "os_compute_api:os-migrations:index"
	case strings.Contains(r.URL.Path, "/os-hypervisors"):
		return "os_compute_api:os-hypervisors:list"
	}
	return "os_compute_api:servers:detail:get_all_tenants"
}

var versionForm = regexp.MustCompile(`^([1-9]\d*)\.([1-9]\d*|0)$`)

// microversion is the version that a request asks for, 2.1 where it asks for none.
func (c *Cloud) microversion(h http.Header) (int, *refusal) {
	highest := minor(c.cfg.MaxMicroversion)
	asked := "2.1"
	if v := h.Get("X-OpenStack-Nova-API-Version"); v != "" {
		asked = v
	}
	for _, v := range strings.Split(h.Get("OpenStack-API-Version"), ",") {
		if v, found := strings.CutPrefix(strings.TrimSpace(v), "compute "); found {
			asked = strings.TrimSpace(v)
		}
	}
	if asked == "latest" {
		return highest, nil
	}
	if !versionForm.MatchString(asked) {
		return 0, refuse(400, "API Version String %s is of invalid format. Must be of format MajorNum.MinorNum.", asked)
	}
	if n := minor(asked); strings.HasPrefix(asked, "2.") && n >= 1 && n <= highest {
		return n, nil
	}
	return 0, refuse(406, "Version %s is not supported by the API. Minimum is 2.1 and maximum is %s.", asked, c.cfg.MaxMicroversion)
}

func minor(version string) int {
	_, m, _ := strings.Cut(version, ".")
	n, _ := strconv.Atoi(m) // the form was checked
	return n
}

func (c *Cloud) novaVersion(r *request) reply {
	return ok(map[string]any{"version": map[string]any{"id": "v2.1", "status": "CURRENT", "version": c.cfg.MaxMicroversion,
		"min_version": "2.1", "updated": "2013-07-23T11:33:21Z", "links": links("self", r.base+"/v2.1/"),
		"media-types": []any{map[string]string{"base": "application/json", "type": "application/vnd.openstack.compute+json;version=2.1"}}}})
}

// dbTime is how Nova writes a moment of its database, which knows no fractions of
// seconds; nil for none.
func dbTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Truncate(time.Second).Format("2006-01-02T15:04:05.000000")
}

func isoTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// ---- os-services

func (h *host) status() string {
	if h.enabled {
		return "enabled"
	}
	return "disabled"
}

func (c *Cloud) stateOf(h *host) string {
	if c.up(h) {
		return "up"
	}
	return "down"
}

// shown is a service's updated_at: a PUT moves it, and so do heartbeats.
func (c *Cloud) shown(h *host) time.Time {
	if beat := c.beat(h); beat.After(h.updated) {
		return beat
	}
	return h.updated
}

func (c *Cloud) serviceBody(r *request, h *host) map[string]any {
	body := map[string]any{"binary": "nova-compute", "host": h.name, "zone": "nova", "status": h.status(), "state": c.stateOf(h),
		"disabled_reason": nullable(h.reason), "updated_at": dbTime(c.shown(h))}
	return identify(r, body, h.number, h.id, h.forced)
}

// identify gives a service its id and the fields that microversions added.
func identify(r *request, body map[string]any, number int, id string, forced bool) map[string]any {
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

func (c *Cloud) listServices(r *request) reply {
	q := r.URL.Query()
	list := []any{}
	for n, s := range controllers {
		if wanted(q, "host", "controller") && wanted(q, "binary", s.binary) {
			list = append(list, identify(r, map[string]any{"binary": s.binary, "host": "controller", "zone": "internal", "status": "enabled",
				"state": "up", "disabled_reason": nil, "updated_at": dbTime(c.now)}, 1000+n, s.id, false))
		}
	}
	for _, h := range c.hosts {
		if wanted(q, "host", h.name) && wanted(q, "binary", "nova-compute") {
			list = append(list, c.serviceBody(r, h))
		}
	}
	return ok(map[string]any{"services": list})
}

// wanted reports whether a filter of a query lets a value through.
func wanted(q url.Values, key, value string) bool { return q.Get(key) == "" || q.Get(key) == value }

// strict decodes a body whose schema has additionalProperties false.
func strict(body []byte, into any) *refusal {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil {
		return nil
	}
	if field, found := strings.CutPrefix(err.Error(), "json: unknown field "); found {
		return refuse(400, "Additional properties are not allowed ('%s' was unexpected)", strings.Trim(field, `"`))
	}
	return refuse(400, "Malformed request body")
}

func (c *Cloud) putService(r *request) reply {
	id := r.PathValue("id")
	if r.version < 53 {
		return c.putServiceAction(r, id)
	}
	if !uuidLike.MatchString(id) {
		return refuse(400, "Invalid uuid %s", id).reply()
	}
	var change serviceChange
	if refused := strict(r.body, &change); refused != nil {
		return refused.reply()
	}
	for _, s := range controllers {
		if s.id == id {
			return refuse(400, "Updating a %s service is not supported. Only nova-compute services can be updated.", s.binary).reply()
		}
	}
	at := slices.IndexFunc(c.hosts, func(h *host) bool { return h.id == id })
	if at < 0 {
		return refuse(404, "Service %s could not be found.", id).reply()
	}
	if refused := c.setService(c.hosts[at], change); refused != nil {
		return refused.reply()
	}
	return ok(map[string]any{"service": c.serviceBody(r, c.hosts[at])})
}

// putServiceAction is PUT /os-services/enable and so on, below 2.53.
func (c *Cloud) putServiceAction(r *request, action string) reply {
	var body struct {
		Host           string  `json:"host"`
		Binary         string  `json:"binary"`
		DisabledReason *string `json:"disabled_reason"`
		ForcedDown     *bool   `json:"forced_down"`
	}
	if refused := strict(r.body, &body); refused != nil {
		return refused.reply()
	}
	enabled, disabled := "enabled", "disabled"
	var change serviceChange
	answer := map[string]any{"host": body.Host, "binary": body.Binary}
	switch {
	case action == "enable":
		change.Status, answer["status"] = &enabled, enabled
	case action == "disable":
		change.Status, answer["status"] = &disabled, disabled
	case action == "disable-log-reason":
		if body.DisabledReason == nil {
			return refuse(400, "Missing disabled reason field").reply()
		}
		change.Status, answer["status"] = &disabled, disabled
		change.DisabledReason, answer["disabled_reason"] = body.DisabledReason, *body.DisabledReason
	case action == "force-down" && r.version >= 11:
		if body.ForcedDown == nil {
			return refuse(400, "Missing forced_down field").reply()
		}
		change.ForcedDown, answer["forced_down"] = body.ForcedDown, *body.ForcedDown
	default:
		return refuse(404, "Unknown action").reply()
	}
	if body.Binary != "nova-compute" {
		return refuse(400, "Updating a %s service is not supported. Only nova-compute services can be updated.", body.Binary).reply()
	}
	h := c.host(body.Host)
	if h == nil {
		return refuse(404, "Host '%s' is not mapped to any cell", body.Host).reply()
	}
	if refused := c.setService(h, change); refused != nil {
		return refused.reply()
	}
	return ok(map[string]any{"service": answer})
}

// ---- servers

func (c *Cloud) serverBody(r *request, i *instance) map[string]any {
	body := map[string]any{"id": i.id, "name": i.name, "status": i.status(), "tenant_id": tenant, "user_id": "u-tenant",
		"metadata": map[string]string{}, "addresses": map[string]any{}, "image": "", "key_name": nil, "config_drive": "",
		"hostId": "", "OS-EXT-AZ:availability_zone": "nova", "OS-DCF:diskConfig": "MANUAL", "accessIPv4": "", "accessIPv6": "",
		"OS-EXT-SRV-ATTR:host": nullable(i.host), "OS-EXT-SRV-ATTR:hypervisor_hostname": nullable(i.host),
		"OS-EXT-SRV-ATTR:instance_name": i.name, "OS-EXT-STS:vm_state": i.vmState, "OS-EXT-STS:task_state": nullable(i.taskState),
		"OS-EXT-STS:power_state": i.powerState(), "OS-SRV-USG:launched_at": dbTime(i.created), "OS-SRV-USG:terminated_at": nil,
		"created": isoTime(i.created), "updated": isoTime(i.updated), "links": links("self", r.base+"/v2.1/servers/"+i.id),
		"flavor": map[string]any{"id": "1", "links": links("bookmark", r.base+"/flavors/1")}}
	if i.host != "" {
		body["hostId"] = fmt.Sprintf("%x", sha256.Sum224([]byte(tenant+i.host)))
	}
	if status := i.status(); status == "ERROR" && i.fault != "" {
		body["fault"] = map[string]any{"code": 500, "message": i.fault, "created": isoTime(i.faultAt)}
	}
	if status := i.status(); status == "ACTIVE" || status == "REBUILD" {
		body["progress"] = 0
	}
	if r.version >= 9 {
		body["locked"] = i.locked
	}
	if h := c.host(i.host); r.version >= 16 {
		switch {
		case h == nil:
			body["host_status"] = ""
		case !c.up(h): // forced down or silent: nova/compute/api.py, get_instance_host_status
			body["host_status"] = "DOWN"
		case !h.enabled:
			body["host_status"] = "MAINTENANCE"
		default:
			body["host_status"] = "UP"
		}
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

// powerState is the guest's last known state: on a dead host it stays as it is (seen on Nova
// 26.2).
func (i *instance) powerState() int {
	switch i.vmState {
	case "stopped", "shelved", "shelved_offloaded":
		return 4
	case "error":
		if i.failed {
			return 0
		}
	case "paused":
		return 3
	case "building":
		return 0
	}
	return 1
}

// page cuts a list after the marker at the limit. full tells that the page is full:
// then Nova gives a link to the next one, even if that is empty
// (nova/api/openstack/common.py, _get_collection_links).
func page[T any](c *Cloud, list []T, id func(T) string, q url.Values, notFound string) (cut []T, full bool, refused *refusal) {
	if marker := q.Get("marker"); marker != "" {
		at := slices.IndexFunc(list, func(t T) bool { return id(t) == marker })
		if at < 0 {
			return nil, false, refuse(400, notFound, marker)
		}
		list = list[at+1:]
	}
	limit := c.cfg.PageLimit
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return nil, false, refuse(400, "Invalid input for query parameters limit. Value: %s. '%[1]s' does not match '^[0-9]*$'", text)
		}
		if n > 0 { // 0 is no limit of one's own
			limit = min(limit, n)
		}
	}
	list = list[:min(limit, len(list))]
	return list, len(list) == limit, nil
}

func nextPage(r *request, marker string) []any {
	q := r.URL.Query()
	q.Set("marker", marker)
	return links("next", r.base+r.URL.Path+"?"+q.Encode())
}

// serverQuery are the keys of 2.75 on that are modelled, and those that change nothing.
var serverQuery = []string{"host", "status", "name", "all_tenants", "limit", "marker", "project_id", "tenant_id", "sort_key", "sort_dir"}

func (c *Cloud) listServersBriefly(r *request) reply {
	answer := c.listServers(r)
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

func (c *Cloud) listServers(r *request) reply {
	q := r.URL.Query()
	if refused := unknownKeys(q, serverQuery); r.version >= 75 && refused != nil {
		return refused.reply()
	}
	name, err := regexp.Compile(q.Get("name"))
	if err != nil {
		return refuse(400, "Invalid input for query parameters name. Value: %s.", q.Get("name")).reply()
	}
	// Without it only the administrator's own project is listed, and that has none.
	all := q.Has("all_tenants") && slices.Contains([]string{"", "1", "t", "true", "on", "y", "yes"}, strings.ToLower(q.Get("all_tenants")))
	var list []*instance
	for n := len(c.instances) - 1; n >= 0; n-- { // newest first
		i := c.instances[n]
		if all && !i.deleted && wanted(q, "host", i.host) && wanted(q, "project_id", tenant) && wanted(q, "tenant_id", tenant) && name.MatchString(i.name) &&
			(!q.Has("status") || slices.ContainsFunc(q["status"], func(s string) bool { return strings.EqualFold(s, i.status()) })) {
			list = append(list, i)
		}
	}
	list, full, refused := page(c, list, func(i *instance) string { return i.id }, q, "marker [%s] not found")
	if refused != nil {
		return refused.reply()
	}
	bodies := []any{}
	for _, i := range list {
		bodies = append(bodies, c.serverBody(r, i))
	}
	answer := map[string]any{"servers": bodies}
	if full {
		answer["servers_links"] = nextPage(r, list[len(list)-1].id)
	}
	return ok(answer)
}

// unknownKeys refuses keys that a schema with additionalProperties false does not list.
func unknownKeys(q url.Values, known []string) *refusal {
	for _, key := range sortedKeys(q) {
		if !slices.Contains(known, key) {
			return refuse(400, "Additional properties are not allowed ('%s' was unexpected)", key)
		}
	}
	return nil
}

func (c *Cloud) showServer(r *request) reply {
	i, refused := c.instance(r.PathValue("id"))
	if refused != nil {
		return refused.reply()
	}
	return ok(map[string]any{"server": c.serverBody(r, i)})
}

func (c *Cloud) deleteServer(r *request) reply {
	i, refused := c.instance(r.PathValue("id"))
	if refused != nil {
		return refused.reply()
	}
	c.remove(i)
	return reply{code: http.StatusNoContent}
}

// postAction is POST /servers/{id}/action. All answer 202 but evacuate, which answers
// 200 without a body, below 2.14 with a password (nova/api/openstack/compute/evacuate.py).
func (c *Cloud) postAction(r *request) reply {
	var body map[string]json.RawMessage
	if refused := r.decode(&body); refused != nil {
		return refused.reply()
	}
	if len(body) != 1 {
		return refuse(400, "There is no such action: %s", strings.Join(sortedKeys(body), ", ")).reply()
	}
	i, refused := c.instance(r.PathValue("id"))
	if refused != nil {
		return refused.reply()
	}
	name := sortedKeys(body)[0]
	switch name {
	case "evacuate":
		return c.postEvacuate(r, i, body[name])
	case "os-stop":
		refused = c.stop(i)
	case "os-start":
		refused = c.start(i)
	case "pause":
		refused = c.hold(i, "pause", "pausing", "paused")
	case "suspend":
		refused = c.hold(i, "suspend", "suspending", "suspended")
	case "rescue":
		refused = c.rescue(i)
	case "shelve":
		refused = c.shelve(i)
	case "migrate":
		var to struct {
			Host string `json:"host"`
		}
		if refused = strict(body[name], &to); refused == nil {
			refused = c.migrate(i, to.Host)
		}
	case "lock":
		i.locked = true
	case "unlock":
		i.locked = false
	case "os-resetState":
		var to struct {
			State string `json:"state"`
		}
		if refused = strict(body[name], &to); refused == nil {
			refused = c.resetState(i, to.State)
		}
	default:
		return refuse(400, "There is no such action: %s", name).reply()
	}
	if refused != nil {
		return refused.reply()
	}
	if name != "evacuate" {
		c.act(i, r.id, strings.TrimPrefix(name, "os-"))
	}
	if name == "rescue" {
		return ok(map[string]any{"adminPass": "simulated"})
	}
	return reply{code: http.StatusAccepted}
}

func (c *Cloud) postEvacuate(r *request, i *instance, text json.RawMessage) reply {
	var body struct {
		Host            *string `json:"host"`
		Force           *bool   `json:"force"`
		AdminPass       *string `json:"adminPass"`
		OnSharedStorage *bool   `json:"onSharedStorage"`
	}
	refused := strict(text, &body)
	unexpected := func(key string) *refusal {
		return refuse(400, "Invalid input for field/attribute evacuate. Value: %s. Additional properties are not allowed ('%s' was unexpected)", text, key)
	}
	switch {
	case refused != nil:
	case body.Force != nil && (r.version < 29 || r.version >= 68):
		refused = unexpected("force")
	case body.OnSharedStorage != nil && r.version >= 14:
		refused = unexpected("onSharedStorage")
	case body.OnSharedStorage == nil && r.version < 14:
		refused = refuse(400, "Invalid input for field/attribute evacuate. Value: %s. 'onSharedStorage' is a required property", text)
	case body.Host != nil && *body.Host == "":
		refused = refuse(400, "Invalid input for field/attribute host. Value: . '' is too short")
	default:
		target := ""
		if body.Host != nil {
			target = *body.Host
		}
		// Below 2.29 a host that is named is forced, too.
		forced := target != "" && (r.version < 29 || body.Force != nil && *body.Force)
		if body.Force != nil && *body.Force && target == "" {
			forced = true
		}
		refused = c.evacuate(i, target, forced, r.id)
	}
	if refused != nil {
		return refused.reply()
	}
	if r.version < 14 {
		return ok(map[string]any{"adminPass": "simulated"})
	}
	return reply{code: http.StatusOK}
}

// ---- os-instance-actions

func (c *Cloud) listActions(r *request) reply {
	i := c.byID[r.PathValue("id")] // since 2.21 those of a deleted instance, too
	if i == nil || i.deleted && r.version < 21 {
		return refuse(404, "Instance %s could not be found.", r.PathValue("id")).reply()
	}
	list := []any{}
	for n := len(i.actions) - 1; n >= 0; n-- {
		list = append(list, actionBody(r, i, i.actions[n]))
	}
	return ok(map[string]any{"instanceActions": list})
}

func (c *Cloud) showAction(r *request) reply {
	i := c.byID[r.PathValue("id")]
	if i == nil || i.deleted && r.version < 21 {
		return refuse(404, "Instance %s could not be found.", r.PathValue("id")).reply()
	}
	for _, a := range i.actions {
		if a.request != r.PathValue("request_id") {
			continue
		}
		events := []any{}
		for _, e := range a.events {
			body := map[string]any{"event": e.name, "start_time": dbTime(e.started), "finish_time": dbTime(e.finished),
				"result": nullable(e.result), "traceback": nil}
			if r.version >= 62 {
				body["host"], body["hostId"] = e.host, fmt.Sprintf("%x", sha256.Sum224([]byte(tenant+e.host)))
			}
			if r.version >= 84 {
				body["details"] = nullable(e.details)
			}
			events = append(events, body)
		}
		body := actionBody(r, i, a)
		body["events"] = events
		return ok(map[string]any{"instanceAction": body})
	}
	return refuse(404, "Action %s not found", r.PathValue("request_id")).reply()
}

func actionBody(r *request, i *instance, a *action) map[string]any {
	message := ""
	if a.failed {
		message = "Error"
	}
	body := map[string]any{"action": a.name, "instance_uuid": i.id, "request_id": a.request, "user_id": "u-admin", "project_id": adminProject,
		"start_time": dbTime(a.started), "message": nullable(message)}
	if r.version >= 58 {
		body["updated_at"] = dbTime(a.updated)
	}
	return body
}

// ---- os-migrations

// migrationQuery are the keys that Nova takes since a microversion, and no others from
// 2.59 on (nova/api/openstack/compute/schemas/migrations.py).
func migrationQuery(version int) []string {
	keys := []string{"hidden", "host", "instance_uuid", "source_compute", "status", "migration_type", "limit", "marker", "changes-since"}
	if version >= 66 {
		keys = append(keys, "changes-before")
	}
	if version >= 80 {
		keys = append(keys, "user_id", "project_id")
	}
	return keys
}

func (c *Cloud) listMigrations(r *request) reply {
	q := r.URL.Query()
	if refused := unknownKeys(q, migrationQuery(r.version)); r.version >= 59 && refused != nil {
		return refused.reply()
	}
	var since time.Time
	if text := q.Get("changes-since"); text != "" && r.version >= 59 {
		var err error
		if since, err = time.Parse(time.RFC3339, text); err != nil {
			return refuse(400, "Invalid input for query parameters changes-since. Value: %s. '%[1]s' is not a 'date-time'", text).reply()
		}
	}
	var list []*migration
	for _, m := range c.migrations {
		if host := q.Get("host"); m.instance.deleted || // its records are soft-deleted with it
			host != "" && host != m.source && host != m.dest ||
			!wanted(q, "instance_uuid", m.instance.id) || !wanted(q, "status", string(m.status)) || !wanted(q, "source_compute", m.source) ||
			!wanted(q, "migration_type", "evacuation") ||
			!since.IsZero() && m.updated.Before(since) { // one that is still accepted was never updated, and is not shown
			continue
		}
		list = append(list, m)
	}
	answer := map[string]any{}
	if r.version >= 59 {
		slices.Reverse(list) // newest first
		cut, full, refused := page(c, list, func(m *migration) string { return m.uuid }, q, "Marker %s could not be found.")
		if refused != nil {
			return refused.reply()
		}
		if full {
			answer["migrations_links"] = nextPage(r, cut[len(cut)-1].uuid)
		}
		list = cut
	}
	bodies := []any{}
	for _, m := range list {
		bodies = append(bodies, migrationBody(r, m))
	}
	answer["migrations"] = bodies
	return ok(answer)
}

func migrationBody(r *request, m *migration) map[string]any {
	body := map[string]any{"id": m.id, "instance_uuid": m.instance.id, "source_compute": m.source, "source_node": m.source,
		"dest_compute": nullable(m.dest), "dest_node": nil, "dest_host": nil, "status": m.status,
		"created_at": dbTime(m.created), "updated_at": dbTime(m.updated), "old_instance_type_id": 1, "new_instance_type_id": 1}
	if m.status != nova.StatusAccepted && m.dest != "" { // the claim writes them
		body["dest_node"], body["dest_host"] = m.dest, "192.0.2.1"
	}
	if r.version >= 23 {
		body["migration_type"] = "evacuation"
	}
	if r.version >= 59 {
		body["uuid"] = m.uuid
	}
	if r.version >= 80 {
		body["user_id"], body["project_id"] = "u-admin", adminProject
	}
	return body
}

// ---- os-hypervisors

func (c *Cloud) hypervisorBody(r *request, h *host) map[string]any {
	body := map[string]any{"id": h.number, "hypervisor_hostname": h.name, "state": c.stateOf(h), "status": h.status()}
	service := map[string]any{"id": h.number, "host": h.name, "disabled_reason": nullable(h.reason)}
	if r.version >= 53 {
		body["id"], service["id"] = h.hypervisor, h.id
	}
	if r.URL.Path != "/v2.1/os-hypervisors" { // the short list has no service
		body["service"] = service
		body["host_ip"], body["hypervisor_type"] = "192.0.2.1", "fake"
	}
	return body
}

func (c *Cloud) listHypervisors(r *request) reply {
	pattern := r.URL.Query().Get("hypervisor_hostname_pattern")
	list := []any{}
	for _, h := range c.hosts {
		if strings.Contains(h.name, pattern) {
			if strings.HasSuffix(r.URL.Path, "/detail") && c.noUptime(r, h) {
				return refuse(500, uptimeTimeout).reply()
			}
			list = append(list, c.hypervisorBody(r, h))
		}
	}
	if pattern != "" && len(list) == 0 {
		return refuse(404, "No hypervisor matching '%s' could be found.", pattern).reply()
	}
	return ok(map[string]any{"hypervisors": list})
}

// noUptime reports whether Nova would ask a host for its uptime, as it does since 2.88, and
// get no answer. It does not take the minute of Nova's RPC timeout.
func (c *Cloud) noUptime(r *request, h *host) bool {
	return r.version >= 88 && c.up(h) && !h.compute
}

const uptimeTimeout = "Unexpected API Error. Please report this at http://bugs.launchpad.net/nova/ and attach the Nova API log if possible.\n" +
	"<class 'oslo_messaging.exceptions.MessagingTimeout'>"

func (c *Cloud) showHypervisor(r *request) reply {
	for _, h := range c.hosts {
		if id := r.PathValue("id"); r.version >= 53 && id == h.hypervisor || r.version < 53 && id == strconv.Itoa(h.number) {
			if c.noUptime(r, h) {
				return refuse(500, uptimeTimeout).reply()
			}
			return ok(map[string]any{"hypervisor": c.hypervisorBody(r, h)})
		}
	}
	return refuse(404, "Hypervisor with ID '%s' could not be found.", r.PathValue("id")).reply()
}

// ---- placement

func (c *Cloud) placementVersion(r *request) reply {
	return ok(map[string]any{"versions": []any{map[string]any{"id": "v1.0", "max_version": "1.39", "min_version": "1.0", "status": "CURRENT",
		"links": links("self", "")}}})
}

// showAllocations shows the source's allocation until nova-compute runs there again, and the
// allocations of every destination that was chosen and did not fail.
func (c *Cloud) showAllocations(r *request) reply {
	allocations := map[string]any{}
	for _, h := range c.hosts {
		if h.allocated[r.PathValue("id")] {
			allocations[h.hypervisor] = map[string]any{"generation": 1, "resources": map[string]int{"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1}}
		}
	}
	body := map[string]any{"allocations": allocations}
	if len(allocations) > 0 { // since 1.12
		body["project_id"], body["user_id"] = tenant, "u-tenant"
	}
	return ok(body)
}

func (c *Cloud) showProvider(r *request) reply {
	for _, h := range c.hosts {
		if id := r.PathValue("id"); id == h.hypervisor {
			return ok(map[string]any{"uuid": id, "name": h.name, "generation": 1, "root_provider_uuid": id, "parent_provider_uuid": nil,
				"links": []any{}})
		}
	}
	return reply{code: 404, body: map[string]any{"errors": []any{map[string]any{"status": 404, "title": "Not Found",
		"detail": "No resource provider with uuid " + r.PathValue("id") + " found"}}}}
}
