package nova

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
)

const thePassword = "s3cret-Passw0rd"

// seen is a request that reached the cloud.
type seen struct {
	method, path, query, body, version, token string
}

func (s seen) String() string { return s.method + " " + s.path }

// cloud is a Keystone, a Nova and a placement on one address that record what they
// are asked. answer speaks for Nova and placement; it is called for every request
// with a valid token.
type cloud struct {
	t      *testing.T
	server *httptest.Server
	log    bytes.Buffer

	mu        sync.Mutex
	max       string // the highest microversion
	regions   []string
	requests  []seen
	logins    int
	loginBody string
	login     http.HandlerFunc // in place of Keystone, where set
	valid     map[string]bool
	answer    http.HandlerFunc
}

func newCloud(t *testing.T, answer http.HandlerFunc) *cloud {
	c := &cloud{t: t, max: "2.93", regions: []string{"one"}, valid: map[string]bool{}, answer: answer}
	c.server = httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(c.server.Close)
	return c
}

func (c *cloud) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	c.mu.Lock()
	if r.URL.Path == "/identity/v3/auth/tokens" {
		defer c.mu.Unlock()
		c.logins++
		c.loginBody = string(body)
		if c.login != nil {
			c.login(w, r)
			return
		}
		token := fmt.Sprintf("token-%d", c.logins)
		c.valid[token] = true
		w.Header().Set("X-Subject-Token", token)
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{"token": map[string]any{"catalog": c.catalog()}})
		return
	}
	c.requests = append(c.requests, seen{
		method: r.Method, path: r.URL.Path, query: r.URL.RawQuery, body: string(body),
		version: r.Header.Get("OpenStack-API-Version"), token: r.Header.Get("X-Auth-Token"),
	})
	if !c.valid[r.Header.Get("X-Auth-Token")] {
		c.mu.Unlock()
		fault(w, http.StatusUnauthorized, "error", "The request you have made requires authentication.")
		return
	}
	max, answer := c.max, c.answer
	c.mu.Unlock()
	if r.URL.Path == "/compute/v2.1/" {
		fmt.Fprintf(w, `{"version": {"id": "v2.1", "status": "CURRENT", "version": %q, "min_version": "2.1"}}`, max)
		return
	}
	answer(w, r)
}

func (c *cloud) catalog() []map[string]any {
	service := func(kind, path string) map[string]any {
		var endpoints []map[string]any
		for _, region := range c.regions {
			endpoints = append(endpoints,
				map[string]any{"interface": "public", "region": region, "region_id": region, "url": "http://public.invalid" + path},
				map[string]any{"interface": "internal", "region": region, "region_id": region, "url": c.server.URL + path})
		}
		return map[string]any{"type": kind, "endpoints": endpoints}
	}
	return []map[string]any{service("compute", "/compute/v2.1"), service("placement", "/placement")}
}

// expire makes every token invalid that was given out so far.
func (c *cloud) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.valid = map[string]bool{}
}

func (c *cloud) loginCount() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.logins
}

// sent gives the requests for Nova and placement, without the version document.
func (c *cloud) sent() []seen {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []seen
	for _, r := range c.requests {
		if r.path != "/compute/v2.1/" {
			all = append(all, r)
		}
	}
	return all
}

func (c *cloud) options() Options {
	log := logrus.New()
	log.SetOutput(&c.log)
	log.SetLevel(logrus.TraceLevel)
	return Options{
		AuthURL: c.server.URL + "/identity", Username: "nova", Password: thePassword, ProjectName: "service",
		EndpointType: "internalURL", Timeout: time.Minute, UserAgent: "nova-evac/test", Log: log,
	}
}

func (c *cloud) client(change ...func(*Options)) *Client {
	c.t.Helper()
	o := c.options()
	for _, f := range change {
		f(&o)
	}
	client, err := Connect(o)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(client.http.CloseIdleConnections)
	return client
}

// fault answers as Nova does.
func fault(w http.ResponseWriter, code int, name, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{name: map[string]any{"code": code, "message": message}})
}

// says answers every request with the same JSON.
func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

// cut closes the connection after the request was read, without an answer.
func cut(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

// deadAddress is an address at which nothing listens.
func deadAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func noSecretIn(t *testing.T, where, text string) {
	t.Helper()
	for _, secret := range []string{thePassword, "token-"} {
		if strings.Contains(text, secret) {
			t.Errorf("%s shows a secret: %s", where, text)
		}
	}
}
