package novasim

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Sent is one POST of an evacuation, successful or not.
type Sent struct {
	Instance string `json:"instance"`
	// At is when its effect came, or would have come, in nanoseconds since 1970.
	At int64 `json:"at"`
	// UserAgent and Remote are the client.
	UserAgent string `json:"user_agent"`
	Remote    string `json:"remote"`
	// Code is Nova's answer, even if it did not get through; 0 means that the request did
	// not reach Nova.
	Code int `json:"code"`
	// Answered is whether the answer was sent to the client.
	Answered bool `json:"answered"`
}

// Requests is an account of the requests to the cloud.
type Requests struct {
	// Counts are by kind (see Kinds), struck by faults or not.
	Counts map[string]int `json:"counts"`
	// Evacuations are all POSTs of evacuations, in the order of their effect.
	Evacuations []Sent `json:"evacuations"`
}

// Requests gives the requests so far.
func (c *Cloud) Requests() Requests {
	defer c.look()()
	return Requests{maps.Clone(c.counts), append([]Sent{}, c.sent...)}
}

// Handler serves Keystone at /v3, Nova at /v2.1, placement at /placement, and the
// control API at /control.
func (c *Cloud) Handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, route := range map[string]struct {
		kind   string
		handle func(*request) reply
	}{
		"GET /{$}":                                   {"version", c.root},
		"GET /v3":                                    {"version", c.keystoneVersion},
		"GET /v3/{$}":                                {"version", c.keystoneVersion},
		"POST /v3/auth/tokens":                       {"keystone", c.authenticate},
		"GET /v2.1":                                  {"version", c.novaVersion},
		"GET /v2.1/{$}":                              {"version", c.novaVersion},
		"GET /placement":                             {"version", c.placementVersion},
		"GET /placement/{$}":                         {"version", c.placementVersion},
		"GET /v2.1/os-services":                      {"services", c.nova(c.listServices)},
		"PUT /v2.1/os-services/{id}":                 {"service", c.nova(c.putService)},
		"GET /v2.1/servers":                          {"servers", c.nova(c.listServersBriefly)},
		"GET /v2.1/servers/detail":                   {"servers", c.nova(c.listServers)},
		"GET /v2.1/servers/{id}":                     {"server", c.nova(c.showServer)},
		"DELETE /v2.1/servers/{id}":                  {"delete", c.nova(c.deleteServer)},
		"POST /v2.1/servers/{id}/action":             {"action", c.nova(c.postAction)},
		"GET /v2.1/servers/{id}/os-instance-actions": {"actions", c.nova(c.listActions)},
		"GET /v2.1/servers/{id}/os-instance-actions/{request_id}": {"actions", c.nova(c.showAction)},
		"GET /v2.1/os-migrations":                                 {"migrations", c.nova(c.listMigrations)},
		"GET /v2.1/os-hypervisors":                                {"hypervisors", c.nova(c.listHypervisors)},
		"GET /v2.1/os-hypervisors/detail":                         {"hypervisors", c.nova(c.listHypervisors)},
		"GET /v2.1/os-hypervisors/{id}":                           {"hypervisors", c.nova(c.showHypervisor)},
		"GET /placement/allocations/{id}":                         {"placement", c.withToken(c.showAllocations)},
		"GET /placement/resource_providers/{id}":                  {"placement", c.withToken(c.showProvider)},
		"/":                                                       {"unknown", func(*request) reply { return refuse(404, "The resource could not be found.").reply() }},
	} {
		mux.HandleFunc(pattern, c.serve(route.kind, route.handle))
	}
	c.controlRoutes(mux)
	return mux
}

// request is a request on its way to a handler.
type request struct {
	*http.Request
	id      string // Nova's own, req-...
	base    string // the cloud's URL as the client knows it
	version int    // minor number of the microversion
	admin   bool
	body    []byte
}

// decode reads the body, which must be JSON.
func (r *request) decode(into any) *refusal {
	if err := json.Unmarshal(r.body, into); err != nil {
		return refuse(400, "Malformed request body")
	}
	return nil
}

// reply is an answer: a code, a body to be written as JSON, headers.
type reply struct {
	code    int
	body    any
	headers map[string]string
}

func ok(body any) reply { return reply{code: http.StatusOK, body: body} }

// faultNames are Nova's names of errors (nova/api/openstack/wsgi.py, Fault); any
// other, 406 among them, is a computeFault.
var faultNames = map[int]string{400: "badRequest", 401: "unauthorized", 403: "forbidden", 404: "itemNotFound", 405: "badMethod",
	409: "conflictingRequest", 413: "overLimit", 415: "badMediaType", 429: "overLimit", 501: "notImplemented", 503: "serviceUnavailable"}

func (r *refusal) reply() reply {
	name := faultNames[r.code]
	if name == "" {
		name = "computeFault"
	}
	return reply{code: r.code, body: map[string]any{name: map[string]any{"code": r.code, "message": r.message}}}
}

// unauthorized is Keystone's answer, and that of its middleware in front of Nova.
func unauthorized(base string) reply {
	return reply{code: 401, headers: map[string]string{"WWW-Authenticate": `Keystone uri="` + base + `/v3"`},
		body: map[string]any{"error": map[string]any{"code": 401, "title": "Unauthorized",
			"message": "The request you have made requires authentication."}}}
}

// maxBody is larger than the body of any request to these APIs.
const maxBody = 1 << 20

// serve wraps a handler of the cloud's own APIs: latency, faults, and the account of
// requests.
func (c *Cloud) serve(kind string, handle func(*request) reply) http.HandlerFunc {
	return func(w http.ResponseWriter, hr *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, hr.Body, maxBody))
		if err != nil {
			panic(http.ErrAbortHandler) // the client hung up, or it is none of ours
		}
		r := &request{Request: hr, base: c.base(hr), body: body}
		kind := kind
		if kind == "action" && isEvacuation(body) {
			kind = "evacuate"
		}
		f, latency := c.strike(kind, hr.URL.Path)
		if latency > 0 {
			timer := time.NewTimer(latency)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-hr.Context().Done(): // Nova does not notice, and goes on
			}
		}
		var answer reply
		answered := true
		switch {
		case f != nil && f.Hang:
			c.count(kind, r, 0, false)
			<-hr.Context().Done()
			return
		case f != nil && f.Cut == "before":
			c.count(kind, r, 0, false)
			panic(http.ErrAbortHandler)
		case f != nil && f.Status != 0:
			answer = refuse(f.Status, "simulated fault").reply()
			if f.Status == http.StatusUnauthorized {
				answer = unauthorized(r.base)
			}
			c.count(kind, r, 0, true)
		default:
			answered = f == nil || f.Cut != "after"
			answer = c.do(kind, r, answered, handle)
		}
		if !answered {
			panic(http.ErrAbortHandler)
		}
		for k, v := range answer.headers {
			w.Header().Set(k, v)
		}
		write(w, answer)
	}
}

// do carries out a request and counts it in one step, so that the account is in the order of
// the effects.
func (c *Cloud) do(kind string, r *request, answered bool, handle func(*request) reply) reply {
	unlock := c.lock
	if r.Method == http.MethodGet {
		unlock = c.look
	}
	defer unlock()()
	r.id = "req-" + uuid(c.noise)
	answer := handle(r)
	c.account(kind, r, answer.code, answered)
	return answer
}

func (c *Cloud) count(kind string, r *request, code int, answered bool) {
	defer c.look()()
	c.account(kind, r, code, answered)
}

func (c *Cloud) account(kind string, r *request, code int, answered bool) {
	c.counts[kind]++
	if kind == "evacuate" {
		c.sent = append(c.sent, Sent{r.PathValue("id"), c.now.UnixNano(), r.UserAgent(), r.RemoteAddr, code, answered})
	}
}

func isEvacuation(body []byte) bool {
	var action map[string]json.RawMessage
	return json.Unmarshal(body, &action) == nil && action["evacuate"] != nil
}

func write(w http.ResponseWriter, r reply) {
	if r.body == nil {
		w.WriteHeader(r.code)
		return
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(r.body); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(r.code)
	_, _ = w.Write(text.Bytes()) // a client that has hung up needs no answer
}

// base is the cloud's URL as it is advertised.
func (c *Cloud) base(r *http.Request) string {
	if c.cfg.PublicURL != "" {
		return strings.TrimRight(c.cfg.PublicURL, "/")
	}
	if r.Host == "" { // HTTP/1.0
		if addr, is := r.Context().Value(http.LocalAddrContextKey).(interface{ String() string }); is {
			return "http://" + addr.String()
		}
	}
	return "http://" + r.Host
}

// withToken asks for a valid token.
func (c *Cloud) withToken(handle func(*request) reply) func(*request) reply {
	return func(r *request) reply {
		t, known := c.tokens[r.Header.Get("X-Auth-Token")]
		if !known || !c.now.Before(t.expires) {
			return unauthorized(r.base)
		}
		r.admin = t.admin
		return handle(r)
	}
}

// sortedKeys are a query's keys, for the first that is wrong to be the same each time.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
