package novasim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Request is one request that the cloud has answered, or cut off.
type Request struct {
	At time.Time `json:"at"`
	// Kind is what it was: keystone, version, services, service, servers, server,
	// migrations, hypervisors, placement, evacuate, action, delete.
	Kind string `json:"kind"`
	// Agent is the caller's User-Agent.
	Agent    string `json:"agent"`
	Instance string `json:"instance,omitempty"`
	Code     int    `json:"code"`
}

// Handler serves Keystone at /v3, Nova at /v2.1, placement at /placement, and the
// control API at /control.
func (c *Cloud) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v3", c.api("version", c.keystoneVersion))
	mux.HandleFunc("GET /v3/{$}", c.api("version", c.keystoneVersion))
	mux.HandleFunc("POST /v3/auth/tokens", c.api("keystone", c.authenticate))
	mux.HandleFunc("GET /v2.1", c.api("version", c.novaVersion))
	mux.HandleFunc("GET /v2.1/{$}", c.api("version", c.novaVersion))
	mux.HandleFunc("GET /placement", c.api("version", placementVersion))
	mux.HandleFunc("GET /placement/{$}", c.api("version", placementVersion))
	for pattern, route := range map[string]struct {
		kind   string
		handle func(*http.Request) reply
	}{
		"GET /v2.1/os-services":           {"services", c.listServices},
		"PUT /v2.1/os-services/{id}":      {"service", c.putService},
		"GET /v2.1/servers/detail":        {"servers", c.listServers},
		"GET /v2.1/servers/{id}":          {"server", c.showServer},
		"DELETE /v2.1/servers/{id}":       {"delete", c.deleteServer},
		"POST /v2.1/servers/{id}/action":  {"action", c.action},
		"GET /v2.1/os-migrations":         {"migrations", c.listMigrations},
		"GET /v2.1/os-hypervisors":        {"hypervisors", c.listHypervisors},
		"GET /v2.1/os-hypervisors/detail": {"hypervisors", c.listHypervisors},
		"GET /placement/allocations/{id}": {"placement", c.allocations},
	} {
		mux.HandleFunc(pattern, c.api(route.kind, c.withToken(route.handle)))
	}
	c.controlRoutes(mux)
	return mux
}

// reply is an answer: a code, a body to be written as JSON, headers.
type reply struct {
	code    int
	body    any
	headers map[string]string
}

func ok(body any) reply { return reply{code: http.StatusOK, body: body} }

// faultNames are Nova's names of errors (nova/api/openstack/wsgi.py, Fault).
var faultNames = map[int]string{400: "badRequest", 401: "unauthorized", 403: "forbidden", 404: "itemNotFound",
	406: "notAcceptable", 409: "conflictingRequest", 500: "computeFault", 503: "serviceUnavailable"}

func (r *refusal) reply() reply {
	return reply{code: r.code, body: map[string]any{faultNames[r.code]: map[string]any{"code": r.code, "message": r.message}}}
}

// api wraps a handler of the cloud's own API: faults, latency, the log of requests.
func (c *Cloud) api(kind string, handle func(*http.Request) reply) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		kind := kind
		if kind == "action" {
			kind = actionKind(r)
		}
		f := c.fault(kind, r.URL.Path)
		c.mu.Lock()
		latency := c.cfg.Latency
		c.mu.Unlock()
		if f != nil {
			latency += f.latency
		}
		if latency > 0 {
			select {
			case <-time.After(latency):
			case <-r.Context().Done():
			}
		}
		entry := Request{At: time.Now(), Kind: kind, Agent: r.UserAgent(), Instance: r.PathValue("id")}
		var answer reply
		switch {
		case f != nil && f.Hang:
			<-r.Context().Done()
			c.logged(entry)
			return
		case f != nil && f.Cut == "before":
			c.logged(entry)
			panic(http.ErrAbortHandler)
		case f != nil && f.Status != 0:
			answer = refuse(f.Status, "simulated fault").reply()
		default:
			answer = handle(r)
		}
		entry.Code = answer.code
		c.logged(entry)
		if f != nil && f.Cut == "after" {
			panic(http.ErrAbortHandler)
		}
		for k, v := range answer.headers {
			w.Header().Set(k, v)
		}
		write(w, answer)
	}
}

func (c *Cloud) logged(r Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[r.Kind]++
	c.requests = append(c.requests, r)
}

func write(w http.ResponseWriter, r reply) {
	if r.body == nil {
		w.WriteHeader(r.code)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(r.code)
	_ = json.NewEncoder(w).Encode(r.body) // who has hung up needs no answer
}

// withToken asks for a valid token and a microversion that Nova speaks.
func (c *Cloud) withToken(handle func(*http.Request) reply) func(*http.Request) reply {
	return func(r *http.Request) reply {
		c.lock()
		defer c.mu.Unlock()
		expires, known := c.tokens[r.Header.Get("X-Auth-Token")]
		if !known || !c.cfg.Now().Before(expires) {
			answer := refuse(401, "The request you have made requires authentication.").reply()
			answer.headers = map[string]string{"WWW-Authenticate": "Keystone uri=\"" + base(r) + "/v3\""}
			return answer
		}
		if strings.HasPrefix(r.URL.Path, "/v2.1") {
			if v := microversion(r); newer(v, c.cfg.MaxMicroversion) {
				return refuse(406, "Version %s is not supported by the API. Minimum is 2.1 and maximum is %s.", v, c.cfg.MaxMicroversion).reply()
			}
		}
		return handle(r)
	}
}

func microversion(r *http.Request) string {
	if v, found := strings.CutPrefix(r.Header.Get("OpenStack-API-Version"), "compute "); found {
		return v
	}
	if v := r.Header.Get("X-OpenStack-Nova-API-Version"); v != "" {
		return v
	}
	return "2.1"
}

// newer compares two microversions.
func newer(a, b string) bool {
	minor := func(v string) int {
		_, m, _ := strings.Cut(v, ".")
		n, err := strconv.Atoi(m)
		if err != nil {
			return 1 << 30 // "latest" is newer than all
		}
		return n
	}
	return minor(a) > minor(b)
}

func base(r *http.Request) string { return "http://" + r.Host }

func (c *Cloud) keystoneVersion(r *http.Request) reply {
	return ok(map[string]any{"version": map[string]any{"id": "v3.14", "status": "stable",
		"links": []any{map[string]string{"rel": "self", "href": base(r) + "/v3/"}}}})
}

func (c *Cloud) novaVersion(r *http.Request) reply {
	return ok(map[string]any{"version": map[string]any{"id": "v2.1", "status": "CURRENT", "version": c.cfg.MaxMicroversion,
		"min_version": "2.1", "links": []any{map[string]string{"rel": "self", "href": base(r) + "/v2.1/"}}}})
}

func placementVersion(*http.Request) reply {
	return ok(map[string]any{"versions": []any{map[string]any{"id": "v1.0", "max_version": "1.39", "min_version": "1.0", "status": "CURRENT"}}})
}

// authenticate is POST /v3/auth/tokens with a password.
func (c *Cloud) authenticate(r *http.Request) reply {
	var request struct {
		Auth struct {
			Identity struct {
				Password struct {
					User struct{ Name, Password string }
				}
			}
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		return refuse(400, "Malformed request: %v", err).reply()
	}
	c.lock()
	defer c.mu.Unlock()
	user := request.Auth.Identity.Password.User
	if user.Name != c.cfg.User || user.Password != c.cfg.Password {
		return reply{code: 401, body: map[string]any{"error": map[string]any{"code": 401, "title": "Unauthorized",
			"message": "The request you have made requires authentication."}}}
	}
	c.ids++
	token := fmt.Sprintf("sim-%d-%x", c.ids, c.rand.Uint64())
	now := c.cfg.Now()
	c.tokens[token] = now.Add(c.cfg.TokenLifetime)
	var catalog []any
	for kind, path := range map[string]string{"compute": "/v2.1", "placement": "/placement", "identity": "/v3"} {
		var endpoints []any
		for _, i := range []string{"public", "internal", "admin"} {
			endpoints = append(endpoints, map[string]string{"id": kind + i, "interface": i, "region": "RegionOne", "region_id": "RegionOne", "url": base(r) + path})
		}
		catalog = append(catalog, map[string]any{"id": kind, "name": kind, "type": kind, "endpoints": endpoints})
	}
	domain := map[string]string{"id": "default", "name": "Default"}
	return reply{code: http.StatusCreated, headers: map[string]string{"X-Subject-Token": token}, body: map[string]any{"token": map[string]any{
		"methods": []string{"password"}, "issued_at": stamp(now), "expires_at": stamp(c.tokens[token]),
		"user":    map[string]any{"id": "u1", "name": user.Name, "domain": domain},
		"project": map[string]any{"id": "p1", "name": c.cfg.Project, "domain": domain},
		"roles":   []any{map[string]string{"id": "r1", "name": "admin"}}, "catalog": catalog}}}
}

// stamp is Keystone's and Nova's form of a moment, to the second as Nova keeps it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

func novaStamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Truncate(time.Second).Format("2006-01-02T15:04:05.000000")
}

func (c *Cloud) serviceBody(h *host) map[string]any {
	status, state := "enabled", "down"
	if !h.enabled {
		status = "disabled"
	}
	if c.up(h) {
		state = "up"
	}
	var reason any
	if h.reason != "" {
		reason = h.reason
	}
	updated := h.updated
	if h.compute {
		updated = c.cfg.Now()
	}
	return map[string]any{"id": h.id, "binary": "nova-compute", "host": h.name, "zone": "nova", "status": status, "state": state,
		"disabled_reason": reason, "forced_down": h.forcedDown, "updated_at": novaStamp(updated)}
}

func (c *Cloud) listServices(r *http.Request) reply {
	list := []any{}
	for _, h := range c.byName() {
		if want := r.URL.Query().Get("host"); want == "" || want == h.name {
			list = append(list, c.serviceBody(h))
		}
	}
	return ok(map[string]any{"services": list})
}

func (c *Cloud) putService(r *http.Request) reply {
	var request struct {
		Status         *string `json:"status"`
		DisabledReason *string `json:"disabled_reason"`
		ForcedDown     *bool   `json:"forced_down"`
	}
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		return refuse(400, "Malformed request body").reply()
	}
	h, refused := c.setService(r.PathValue("id"), request.Status, request.DisabledReason, request.ForcedDown)
	if refused != nil {
		return refused.reply()
	}
	return ok(map[string]any{"service": c.serviceBody(h)})
}

// instanceStatus is the API's status of a vm_state and task_state
// (nova/api/openstack/common.py, _STATE_MAP).
func (i *instance) status() string {
	switch {
	case strings.HasPrefix(i.taskState, "rebuild") && i.vmState != "error":
		return "REBUILD"
	case i.vmState == "stopped":
		return "SHUTOFF"
	}
	return strings.ToUpper(i.vmState)
}

func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func serverBody(i *instance) map[string]any {
	body := map[string]any{"id": i.id, "name": i.name, "status": i.status(), "tenant_id": "p1", "user_id": "u1", "metadata": map[string]string{},
		"OS-EXT-SRV-ATTR:host": i.host, "OS-EXT-SRV-ATTR:hypervisor_hostname": i.host, "OS-EXT-STS:vm_state": i.vmState,
		"OS-EXT-STS:task_state": nullable(i.taskState), "OS-EXT-STS:power_state": 1, "locked": false,
		"created": i.created.UTC().Format("2006-01-02T15:04:05Z"), "updated": i.updated.UTC().Format("2006-01-02T15:04:05Z")}
	if i.fault != "" && i.vmState == "error" {
		body["fault"] = map[string]any{"code": 500, "message": i.fault, "created": i.updated.UTC().Format("2006-01-02T15:04:05Z")}
	}
	return body
}

// page cuts a list after marker at limit, as Nova does; more says that there is more.
func page[T any](c *Cloud, list []T, id func(T) string, q url.Values) (cut []T, more bool, refused *refusal) {
	if marker := q.Get("marker"); marker != "" {
		at := slices.IndexFunc(list, func(t T) bool { return id(t) == marker })
		if at < 0 {
			return nil, false, refuse(400, "marker [%s] not found", marker)
		}
		list = list[at+1:]
	}
	limit := c.cfg.PageLimit
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return nil, false, refuse(400, "Invalid input for query parameters limit. Value: %s.", text)
		}
		limit = min(limit, n)
	}
	if len(list) > limit {
		return list[:limit], limit > 0, nil
	}
	return list, false, nil
}

func nextLink(r *http.Request, marker string) []any {
	q := r.URL.Query()
	q.Set("marker", marker)
	return []any{map[string]string{"rel": "next", "href": base(r) + r.URL.Path + "?" + q.Encode()}}
}

func (c *Cloud) listServers(r *http.Request) reply {
	q := r.URL.Query()
	var list []*instance
	for _, i := range c.instances {
		if h := q.Get("host"); !i.deleted && (h == "" || h == i.host) {
			list = append(list, i)
		}
	}
	slices.SortFunc(list, func(a, b *instance) int { // newest first, as Nova lists
		if d := b.created.Compare(a.created); d != 0 {
			return d
		}
		return strings.Compare(b.id, a.id)
	})
	list, more, refused := page(c, list, func(i *instance) string { return i.id }, q)
	if refused != nil {
		return refused.reply()
	}
	bodies := []any{}
	for _, i := range list {
		bodies = append(bodies, serverBody(i))
	}
	answer := map[string]any{"servers": bodies}
	if more {
		answer["servers_links"] = nextLink(r, list[len(list)-1].id)
	}
	return ok(answer)
}

func (c *Cloud) showServer(r *http.Request) reply {
	i := c.instances[r.PathValue("id")]
	if i == nil || i.deleted {
		return refuse(404, "Instance %s could not be found.", r.PathValue("id")).reply()
	}
	return ok(map[string]any{"server": serverBody(i)})
}

func (c *Cloud) deleteServer(r *http.Request) reply {
	if refused := c.delete(r.PathValue("id")); refused != nil {
		return refused.reply()
	}
	return reply{code: http.StatusNoContent}
}

// actionKind tells evacuations from other actions, and leaves the body to be read.
func actionKind(r *http.Request) string {
	data, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
	r.Body = io.NopCloser(bytes.NewReader(data))
	var body map[string]json.RawMessage
	if err == nil && json.Unmarshal(data, &body) == nil && body["evacuate"] != nil {
		return "evacuate"
	}
	return "action"
}

func (c *Cloud) action(r *http.Request) reply {
	var request struct {
		Evacuate *struct {
			Host  string `json:"host"`
			Force *bool  `json:"force"`
		} `json:"evacuate"`
		Stop       json.RawMessage `json:"os-stop"`
		Start      json.RawMessage `json:"os-start"`
		ResetState *struct {
			State string `json:"state"`
		} `json:"os-resetState"`
	}
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		return refuse(400, "Malformed request body").reply()
	}
	i := c.instances[r.PathValue("id")]
	if i == nil || i.deleted {
		return refuse(404, "Instance %s could not be found.", r.PathValue("id")).reply()
	}
	accepted := reply{code: http.StatusAccepted}
	switch {
	case request.Evacuate != nil:
		if request.Evacuate.Force != nil && newer(microversion(r), "2.67") {
			return refuse(400, "Invalid input for field/attribute evacuate. Additional properties are not allowed ('force' was unexpected)").reply()
		}
		if refused := c.evacuate(i.id, request.Evacuate.Host); refused != nil {
			return refused.reply()
		}
		return reply{code: http.StatusOK}
	case request.Stop != nil:
		i.vmState = "stopped"
		return accepted
	case request.Start != nil:
		i.vmState = "active"
		return accepted
	case request.ResetState != nil:
		i.vmState, i.taskState = request.ResetState.State, ""
		return accepted
	}
	return refuse(400, "There is no such action").reply()
}

// migrationQuery are the keys that Nova takes at 2.80 (additionalProperties: false).
var migrationQuery = []string{"hidden", "host", "instance_uuid", "source_compute", "status", "migration_type",
	"limit", "marker", "changes-since", "changes-before", "user_id", "project_id"}

func (c *Cloud) listMigrations(r *http.Request) reply {
	q := r.URL.Query()
	for key := range q {
		if !slices.Contains(migrationQuery, key) {
			return refuse(400, "Invalid input for query parameters. Additional properties are not allowed (%q was unexpected)", key).reply()
		}
	}
	var list []*migration
	for _, m := range c.migrations {
		h, i, s, source := q.Get("host"), q.Get("instance_uuid"), q.Get("status"), q.Get("source_compute")
		deleted := c.instances[m.instance].deleted // its records are soft-deleted with it
		if !deleted && (h == "" || h == m.source || h == m.dest) && (i == "" || i == m.instance) && (s == "" || s == m.status) &&
			(source == "" || source == m.source) && (q.Get("migration_type") == "" || q.Get("migration_type") == "evacuation") {
			list = append(list, m)
		}
	}
	slices.Reverse(list)
	list, more, refused := page(c, list, func(m *migration) string { return m.uuid }, q)
	if refused != nil {
		return refused.reply()
	}
	bodies := []any{}
	for _, m := range list {
		bodies = append(bodies, map[string]any{"id": m.id, "uuid": m.uuid, "instance_uuid": m.instance, "migration_type": "evacuation",
			"source_compute": m.source, "source_node": m.source, "dest_compute": nullable(m.dest), "dest_node": nullable(m.dest), "dest_host": nil,
			"status": m.status, "created_at": novaStamp(m.created), "updated_at": novaStamp(m.updated),
			"old_instance_type_id": 1, "new_instance_type_id": 1, "user_id": "u1", "project_id": "p1"})
	}
	answer := map[string]any{"migrations": bodies}
	if more {
		answer["migrations_links"] = nextLink(r, list[len(list)-1].uuid)
	}
	return ok(answer)
}

func (c *Cloud) listHypervisors(*http.Request) reply {
	list := []any{}
	for _, h := range c.byName() {
		status, state := "enabled", "down"
		if !h.enabled {
			status = "disabled"
		}
		if c.up(h) {
			state = "up"
		}
		list = append(list, map[string]any{"id": h.hypervisor, "hypervisor_hostname": h.name, "state": state, "status": status,
			"service": map[string]any{"id": h.id, "host": h.name, "disabled_reason": nullable(h.reason)}})
	}
	return ok(map[string]any{"hypervisors": list})
}

func (c *Cloud) allocations(r *http.Request) reply {
	allocations := map[string]any{}
	if i := c.instances[r.PathValue("id")]; i != nil && !i.deleted {
		for name := range i.allocations {
			allocations[c.hosts[name].hypervisor] = map[string]any{"generation": 1, "resources": map[string]int{"VCPU": 1}}
		}
	}
	return ok(map[string]any{"allocations": allocations})
}
