// Package api serves a simulated cloud over HTTP: Keystone at /v3, Nova at /v2.1, placement at
// /placement, and the control API at /control. It has what belongs to requests and not to the
// cloud: microversions, bodies, tokens, latency and faults, and the account of the requests.
package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nova-evac/nova-evac/pkg/novasim"
	"github.com/nova-evac/nova-evac/pkg/novasim/control"
)

// Config configures a Server. The zero value of a field is its default.
type Config struct {
	// TokenLifetime is how long a token is valid, by default an hour.
	TokenLifetime time.Duration
	// MaxMicroversion is the highest that Nova speaks, by default Zed's 2.93.
	MaxMicroversion string
	// PageLimit is Nova's max_limit, by default 1000.
	PageLimit int
	// Latency is added to every request but those of the control API.
	Latency time.Duration
	// User is an administrator, by default admin, with Password, by default secret;
	// Project, by default admin, is theirs. The user demo, with the same password, is
	// none, and is refused. ApplicationCredential, by default novasim, is the id of
	// one of User's, with the same secret.
	User, Password, Project string
	ApplicationCredential   string
	// PublicURL is the address in the catalogue and in the links of pages. By default it is
	// the host that the request named.
	PublicURL string
	// Seed decides the ids of requests and tokens, and the faults' probability.
	Seed uint64
}

func (c Config) withDefaults() Config {
	c.TokenLifetime = cmp.Or(c.TokenLifetime, time.Hour)
	c.MaxMicroversion = cmp.Or(c.MaxMicroversion, "2.93")
	c.PageLimit = cmp.Or(c.PageLimit, 1000)
	c.User, c.Password, c.Project = cmp.Or(c.User, "admin"), cmp.Or(c.Password, "secret"), cmp.Or(c.Project, "admin")
	c.ApplicationCredential = cmp.Or(c.ApplicationCredential, "novasim")
	return c
}

// Server is the HTTP surface of a cloud. It is safe for concurrent use.
type Server struct {
	cloud *novasim.Cloud
	cfg   Config
	mux   *http.ServeMux

	mu sync.Mutex // guards all below, and carries the requests out one by one
	state
}

// state is the part of a server that a reset clears.
type state struct {
	noise   *rand.Rand
	tokens  map[string]token
	faults  []*fault
	faultID int
	latency time.Duration
	counts  map[string]int
	sent    []control.Sent
}

// New makes the surface of a cloud.
func New(cloud *novasim.Cloud, cfg Config) *Server {
	s := &Server{cloud: cloud, cfg: cfg.withDefaults(), mux: http.NewServeMux()}
	s.fresh()
	s.routes()
	s.controlRoutes()
	return s
}

// Reset puts the server and its cloud back into the state that they were made in. Nothing
// that happened since is left, tokens included.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cloud.Reset()
	s.fresh()
}

func (s *Server) fresh() {
	// 0 and 1 are the cloud's.
	s.state = state{noise: rand.New(rand.NewPCG(s.cfg.Seed, 2)), tokens: map[string]token{}, counts: map[string]int{}, latency: s.cfg.Latency}
}

// Requests gives the requests so far.
func (s *Server) Requests() control.Requests {
	s.mu.Lock()
	defer s.mu.Unlock()
	return control.Requests{Counts: maps.Clone(s.counts), Evacuations: append([]control.Sent{}, s.sent...)}
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func (s *Server) routes() {
	for pattern, route := range map[string]struct {
		kind   string
		handle func(*request) reply
	}{
		"GET /{$}":                                   {"version", s.root},
		"GET /v3":                                    {"version", s.keystoneVersion},
		"GET /v3/{$}":                                {"version", s.keystoneVersion},
		"POST /v3/auth/tokens":                       {"keystone", s.authenticate},
		"GET /v2.1":                                  {"version", s.novaVersion},
		"GET /v2.1/{$}":                              {"version", s.novaVersion},
		"GET /placement":                             {"version", s.placementVersion},
		"GET /placement/{$}":                         {"version", s.placementVersion},
		"GET /v2.1/os-services":                      {"services", s.nova(s.listServices)},
		"PUT /v2.1/os-services/{id}":                 {"service", s.nova(s.putService)},
		"GET /v2.1/servers":                          {"servers", s.nova(s.listServersBriefly)},
		"GET /v2.1/servers/detail":                   {"servers", s.nova(s.listServers)},
		"GET /v2.1/servers/{id}":                     {"server", s.nova(s.showServer)},
		"DELETE /v2.1/servers/{id}":                  {"delete", s.nova(s.deleteServer)},
		"POST /v2.1/servers/{id}/action":             {"action", s.nova(s.postAction)},
		"GET /v2.1/servers/{id}/os-instance-actions": {"actions", s.nova(s.listActions)},
		"GET /v2.1/servers/{id}/os-instance-actions/{request_id}": {"actions", s.nova(s.showAction)},
		"GET /v2.1/os-migrations":                                 {"migrations", s.nova(s.listMigrations)},
		"GET /v2.1/os-hypervisors":                                {"hypervisors", s.nova(s.listHypervisors)},
		"GET /v2.1/os-hypervisors/detail":                         {"hypervisors", s.nova(s.listHypervisors)},
		"GET /v2.1/os-hypervisors/{id}":                           {"hypervisors", s.nova(s.showHypervisor)},
		"GET /placement/allocations/{id}":                         {"placement", s.withToken(s.showAllocations)},
		"GET /placement/resource_providers/{id}":                  {"placement", s.withToken(s.showProvider)},
		"/":                                                       {"unknown", func(*request) reply { return refuse(404, "The resource could not be found.") }},
	} {
		s.mux.HandleFunc(pattern, s.serve(route.kind, route.handle))
	}
}

// request is a request on its way to a handler.
type request struct {
	*http.Request
	id      string    // Nova's own, req-...
	now     time.Time // when it is carried out
	base    string    // the cloud's URL as the client knows it
	version int       // minor number of the microversion
	admin   bool
	body    []byte
}

// decode reads the body, which must be JSON.
func (r *request) decode(into any) error {
	if err := json.Unmarshal(r.body, into); err != nil {
		return novasim.Refuse(400, "Malformed request body")
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

// refused is Nova's answer for an error of the cloud's.
func refused(err error) reply {
	var refusal *novasim.Refusal
	if !errors.As(err, &refusal) { // no operation gives any other
		refusal = &novasim.Refusal{Code: http.StatusInternalServerError, Message: err.Error()}
	}
	return reply{code: refusal.Code, body: refusal.Body()}
}

func refuse(code int, format string, args ...any) reply {
	return refused(novasim.Refuse(code, format, args...))
}

// maxBody is larger than the body of any request to these APIs.
const maxBody = 1 << 20

// serve wraps a handler of the cloud's own APIs: latency, faults, and the account of
// requests.
func (s *Server) serve(kind string, handle func(*request) reply) http.HandlerFunc {
	return func(w http.ResponseWriter, hr *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, hr.Body, maxBody))
		if err != nil {
			panic(http.ErrAbortHandler) // the client hung up, or it is none of ours
		}
		r := &request{Request: hr, base: s.base(hr), body: body}
		kind := kind
		if kind == "action" && isEvacuation(body) {
			kind = "evacuate"
		}
		f, latency := s.strike(kind, hr.URL.Path)
		if latency > 0 {
			timer := time.NewTimer(latency)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-hr.Context().Done(): // Nova does not notice, and goes on
			}
		}
		answer, answered := s.answer(kind, r, f, handle)
		switch {
		case answered:
			write(w, answer)
		case f.Hang:
			<-hr.Context().Done()
		default:
			panic(http.ErrAbortHandler) // which cuts the connection
		}
	}
}

// answer carries out a request that a fault may have struck. It gives the answer, and false if
// the client gets none.
func (s *Server) answer(kind string, r *request, f *fault, handle func(*request) reply) (reply, bool) {
	switch {
	case f == nil:
		return s.do(kind, r, true, handle), true
	case f.Hang, f.Cut == "before":
		s.count(kind, r, false)
		return reply{}, false
	case f.Status != 0:
		s.count(kind, r, true)
		if f.Status == http.StatusUnauthorized {
			return unauthorized(r.base), true
		}
		return refuse(f.Status, "simulated fault"), true
	}
	answered := f.Cut != "after"
	return s.do(kind, r, answered, handle), answered
}

// do carries out a request and counts it in one step, so that the account is in the order of
// the effects.
func (s *Server) do(kind string, r *request, answered bool, handle func(*request) reply) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.now = s.cloud.Now()
	r.id = "req-" + novasim.UUID(s.noise)
	answer := handle(r)
	s.account(kind, r, answer.code, answered)
	return answer
}

// count counts a request that is not carried out.
func (s *Server) count(kind string, r *request, answered bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.now = s.cloud.Now()
	s.account(kind, r, 0, answered)
}

func (s *Server) account(kind string, r *request, code int, answered bool) {
	s.counts[kind]++
	if kind == "evacuate" {
		s.sent = append(s.sent, control.Sent{Instance: r.PathValue("id"), At: r.now.UnixNano(), UserAgent: r.UserAgent(), Remote: r.RemoteAddr,
			Code: code, Answered: answered})
	}
}

func isEvacuation(body []byte) bool {
	var action map[string]json.RawMessage
	return json.Unmarshal(body, &action) == nil && action["evacuate"] != nil
}

func write(w http.ResponseWriter, r reply) {
	for k, v := range r.headers {
		w.Header().Set(k, v)
	}
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
func (s *Server) base(r *http.Request) string {
	if s.cfg.PublicURL != "" {
		return strings.TrimRight(s.cfg.PublicURL, "/")
	}
	if r.Host == "" { // HTTP/1.0
		if addr, is := r.Context().Value(http.LocalAddrContextKey).(interface{ String() string }); is {
			return "http://" + addr.String()
		}
	}
	return "http://" + r.Host
}

// sortedKeys are a query's keys, for the first that is wrong to be the same each time.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
