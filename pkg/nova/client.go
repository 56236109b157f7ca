package nova

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/singleflight"
)

// pageSize is asked for in lists; it is Nova's default max_limit, to which Nova
// lowers it by itself where an operator configured less.
const pageSize = "1000"

// maxReason is the longest disabled_reason that Nova's schema allows.
const maxReason = 255

// Client talks to one cloud's Nova as one user. It is safe for concurrent use.
// Every method fails with an *Error, each HTTP request is bounded by
// Options.Timeout and by the context, and nothing is ever sent twice except after
// a 401.
type Client struct {
	http         *http.Client
	auth         tokens.AuthOptions
	identity     string
	region       string
	endpointType string
	ceiling      microversion
	timeout      time.Duration
	userAgent    string
	secrets      []string
	log          logrus.FieldLogger

	shared    singleflight.Group
	session   atomic.Pointer[session]
	api       atomic.Pointer[api]
	skew      atomic.Int64
	providers sync.Map // placement's resource provider: compute host
}

// Connect makes a client out of options. It does not touch the network: it
// authenticates with the first call, so that a Nova that is down never keeps a
// program from starting. The error is about an option and names it; a file of a
// certificate that cannot be read is one of them.
func Connect(o Options) (*Client, error) {
	identity, err := identityURL(o.AuthURL)
	if err != nil {
		return nil, err
	}
	endpointType, err := Endpoint(o.EndpointType)
	if err != nil {
		return nil, err
	}
	ceiling, _ := parseMicroversion(MaxMicroversion)
	if o.MaxMicroversion != "" {
		asked, err := parseMicroversion(o.MaxMicroversion)
		if err != nil {
			return nil, fmt.Errorf("max_microversion: %w", err)
		}
		if least, _ := parseMicroversion(MinMicroversion); asked.less(least) {
			return nil, fmt.Errorf("max_microversion %s is too low: nova-evac needs at least %s", asked, MinMicroversion)
		}
		if asked.less(ceiling) {
			ceiling = asked
		}
	}
	tlsConfig, err := tlsConfigOf(o)
	if err != nil {
		return nil, err
	}
	dial := o.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext
	}
	c := &Client{
		auth:         authOf(o, identity),
		identity:     identity,
		region:       o.Region,
		endpointType: endpointType,
		ceiling:      ceiling,
		timeout:      o.Timeout,
		userAgent:    o.UserAgent,
		log:          o.Log,
	}
	if c.timeout <= 0 {
		c.timeout = DefaultTimeout
	}
	if c.log == nil {
		silent := logrus.New()
		silent.SetOutput(io.Discard)
		c.log = silent
	}
	for _, secret := range []Secret{o.Password, o.ApplicationCredentialSecret} {
		if secret != "" {
			c.secrets = append(c.secrets, spellings(string(secret))...)
		}
	}
	// HTTP/1.1 only: what attempt knows about sending "exactly once" is known of it.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	c.http = &http.Client{
		CheckRedirect: sameHost,
		Transport: bounded{&http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         dial,
			TLSClientConfig:     tlsConfig,
			TLSHandshakeTimeout: 10 * time.Second,
			MaxIdleConnsPerHost: 64,
			// Below the 5 s after which Apache and others close a connection by
			// default: a request on a connection that is just being closed is lost
			// without an answer.
			IdleConnTimeout: 3 * time.Second,
			Protocols:       protocols,
		}},
	}
	return c, nil
}

// sameHost follows a redirect only for a GET and on the same host: net/http would
// make a GET of a redirected POST, and hand our token, which travels in a header
// it does not know as one, to any host.
func sameHost(next *http.Request, via []*http.Request) error {
	first := via[0]
	if first.Method != http.MethodGet || next.URL.Host != first.URL.Host || next.URL.Scheme != first.URL.Scheme || len(via) > 3 {
		return http.ErrUseLastResponse
	}
	return nil
}

func authOf(o Options, identity string) tokens.AuthOptions {
	if o.ApplicationCredentialID != "" {
		// It is scoped by itself; Keystone refuses a scope beside it.
		return tokens.AuthOptions{
			IdentityEndpoint:            identity,
			ApplicationCredentialID:     o.ApplicationCredentialID,
			ApplicationCredentialSecret: string(o.ApplicationCredentialSecret),
		}
	}
	a := tokens.AuthOptions{IdentityEndpoint: identity, Password: string(o.Password)}
	if o.UserID != "" {
		a.UserID = o.UserID
	} else {
		a.Username = o.Username
		a.DomainID, a.DomainName = domainOf(o.UserDomainID, o.UserDomain)
	}
	if o.ProjectID != "" {
		a.Scope.ProjectID = o.ProjectID
	} else if o.ProjectName != "" {
		a.Scope.ProjectName = o.ProjectName
		a.Scope.DomainID, a.Scope.DomainName = domainOf(o.ProjectDomainID, o.ProjectDomain)
	}
	return a
}

func domainOf(id, name string) (string, string) {
	switch {
	case id != "":
		return id, ""
	case name != "":
		return "", name
	}
	return "", DefaultDomain
}

func tlsConfigOf(o Options) (*tls.Config, error) {
	// Insecure is the operator's explicit word, for clouds with certificates of
	// their own making.
	t := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.Insecure}
	if o.CACert != "" {
		pem, err := os.ReadFile(o.CACert)
		if err != nil {
			return nil, fmt.Errorf("cacert: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("cacert: there is no PEM certificate in %s", o.CACert)
		}
	}
	if o.ClientCert != "" {
		pair, err := tls.LoadX509KeyPair(o.ClientCert, o.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("cert and key: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// Check authenticates, negotiates the version and lists the compute services: if
// it gives no error, Nova can be reached and the user may read what an evacuation
// has to read first.
func (c *Client) Check(ctx context.Context) error {
	_, err := c.Services(ctx)
	return err
}

// Microversion gives the microversion in use, for a status line: "2.90".
func (c *Client) Microversion(ctx context.Context) (string, error) {
	const op = "negotiate the version"
	_, a, err := c.ready(ctx, op)
	if err != nil {
		return "", err
	}
	return a.version.String(), nil
}

// Skew is how far Nova's clock is ahead of ours (behind: negative), by the Date
// header of its last answer, to about a second; 0 while there was no answer yet.
// Nova's clock is the one that stamps Migration.Created.
func (c *Client) Skew() time.Duration { return time.Duration(c.skew.Load()) }

// Services lists the nova-computes of all cells. For hosts of a cell that is down
// Nova sends a minimal record since 2.69, see Service.Partial; below 2.69 they are
// missing.
func (c *Client) Services(ctx context.Context) ([]Service, error) {
	type service struct {
		ID             string  `json:"id"`
		Binary         string  `json:"binary"`
		Host           string  `json:"host"`
		Zone           string  `json:"zone"`
		State          *string `json:"state"`
		Status         string  `json:"status"`
		ForcedDown     bool    `json:"forced_down"`
		DisabledReason string  `json:"disabled_reason"`
		Updated        stamp   `json:"updated_at"`
	}
	var answer struct {
		Services items[service] `json:"services"`
	}
	err := c.nova(ctx, request{
		op: "list compute services", method: http.MethodGet, path: "os-services",
		query: url.Values{"binary": {"nova-compute"}}, out: &answer, list: true,
		whole: func() bool {
			return answer.Services.every(func(s service) bool { return s.Binary != "" && s.Host != "" })
		},
	})
	if err != nil {
		return nil, err
	}
	services := make([]Service, 0, len(answer.Services))
	for _, s := range answer.Services {
		if s.Binary != "nova-compute" {
			continue
		}
		one := Service{Host: s.Host, Partial: s.ID == "" || s.State == nil}
		if !one.Partial {
			one = Service{
				ID: s.ID, Host: s.Host, Zone: s.Zone, Up: *s.State == "up", Enabled: s.Status == "enabled",
				ForcedDown: s.ForcedDown, DisabledReason: s.DisabledReason, Updated: s.Updated.Time,
			}
		}
		services = append(services, one)
	}
	return services, nil
}

// Missing names those of Nova's services without which no evacuation comes to anything,
// nova-conductor and nova-scheduler, of which none is up; sorted.
func (c *Client) Missing(ctx context.Context) ([]string, error) {
	var answer struct {
		Services items[struct {
			Binary string `json:"binary"`
			State  string `json:"state"`
		}] `json:"services"`
	}
	if err := c.nova(ctx, request{op: "list Nova's services", method: http.MethodGet, path: "os-services", out: &answer, list: true,
		whole: func() bool { return answer.Services != nil }}); err != nil {
		return nil, err
	}
	up := map[string]bool{}
	for _, s := range answer.Services {
		up[s.Binary] = up[s.Binary] || s.State == "up"
	}
	var missing []string
	for _, binary := range []string{"nova-conductor", "nova-scheduler"} {
		if !up[binary] {
			missing = append(missing, binary)
		}
	}
	return missing, nil
}

// Disown takes our name off the reason for which a service is disabled, so that it is
// nobody's but the operator's from now on; forced_down stays.
func (c *Client) Disown(ctx context.Context, svc Service) error {
	return c.update(ctx, "disown "+svc.Host, svc, map[string]any{"status": "disabled", "disabled_reason": DisownedReason})
}

// DisownedReason is what Disown leaves in Nova.
const DisownedReason = "fenced; an operator had nova-evac forget the host"

// ForceDown tells Nova, in one PUT, that a host is dead, and, unless disable is empty, takes
// it away from the scheduler with that as the reason (cut at Nova's 255 characters).
//
// It may be repeated without harm. Whether it took effect is to be read back from
// Services.
func (c *Client) ForceDown(ctx context.Context, svc Service, disable string) error {
	if r := []rune(disable); len(r) > maxReason {
		disable = string(r[:maxReason])
	}
	body := map[string]any{"forced_down": true}
	if disable != "" {
		body["status"] = "disabled"
		body["disabled_reason"] = disable
	}
	return c.update(ctx, "force down "+svc.Host, svc, body)
}

// ForceUp takes back that a host is dead: from now on its heartbeat counts again.
// It leaves the service disabled if it is. Nova refuses (ErrRefused, 400) while
// evacuation records of the host are `done` and not yet `completed`, that is until
// its nova-compute has been started (Nova 24.0 and later; before, it is for the
// caller to look).
func (c *Client) ForceUp(ctx context.Context, svc Service) error {
	return c.update(ctx, "force up "+svc.Host, svc, map[string]any{"forced_down": false})
}

// Enable gives a host back to the scheduler if it was nova-evac that took it away.
// Where the reason is not ours, an operator's disable is left alone: nothing is
// sent, and the error is ErrRefused.
func (c *Client) Enable(ctx context.Context, svc Service) error {
	op := "enable " + svc.Host
	if !svc.Enabled && !svc.Ours() {
		return &Error{Op: op, Kind: ErrRefused, Message: fmt.Sprintf("not nova-evac disabled the service (reason %q), so nova-evac leaves it", c.clean(svc.DisabledReason))}
	}
	return c.update(ctx, op, svc, map[string]any{"status": "enabled"})
}

func (c *Client) update(ctx context.Context, op string, svc Service, body map[string]any) error {
	if svc.ID == "" {
		return &Error{Op: op, Kind: ErrNotSent, Message: "Nova does not show the service's id, so its cell must be down"}
	}
	return c.nova(ctx, request{op: op, method: http.MethodPut, path: "os-services/" + url.PathEscape(svc.ID), body: body})
}

// server is what we read of a server's JSON. Pointers tell "null" and "missing"
// from a value.
type server struct {
	ID        string  `json:"id"`
	Name      string  `json:"name"`
	Host      *string `json:"OS-EXT-SRV-ATTR:host"`
	VMState   *string `json:"OS-EXT-STS:vm_state"`
	TaskState string  `json:"OS-EXT-STS:task_state"`
	Updated   stamp   `json:"updated"`
	Fault     struct {
		Message string `json:"message"`
	} `json:"fault"`

	// hostShown is set where the answer has the key of Host, be it null: an instance
	// without a host has null, a minimal record lacks the key.
	hostShown bool
}

func (s *server) UnmarshalJSON(raw []byte) error {
	type plain server
	if err := json.Unmarshal(raw, (*plain)(s)); err != nil {
		return err
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		return err
	}
	_, s.hostShown = keys["OS-EXT-SRV-ATTR:host"]
	return nil
}

// check fails where the user's role keeps from us what no evacuation can do without: on which
// host an instance is. Nova leaves a field out, or a filter unheeded, without a word.
func (s *server) check(op, host string) error {
	switch {
	case s.VMState != nil && !s.hostShown:
		return hidden(op, "on which host instance "+s.ID+" is", "os_compute_api:os-extended-server-attributes")
	case s.Host != nil && *s.Host != "" && !strings.EqualFold(*s.Host, host):
		return hidden(op, "only the instances of one host, and lists instance "+s.ID+" of "+*s.Host, "os_compute_api:servers:allow_all_filters")
	}
	return nil
}

// hidden is the error of an answer that lacks what a policy of Nova hides.
func hidden(op, what, policy string) error {
	return &Error{Op: op, Kind: ErrRefused, Message: "Nova does not tell this user " + what + ": its role lacks the policy " + policy}
}

func (s *server) server() Server {
	if !s.hostShown || s.VMState == nil {
		return Server{ID: s.ID, Partial: true}
	}
	one := Server{ID: s.ID, Name: s.Name, VMState: *s.VMState, TaskState: s.TaskState, Fault: s.Fault.Message, Updated: s.Updated.Time}
	if s.Host != nil {
		one.Host = *s.Host
	}
	return one
}

// link is Nova's pointer to the next page.
type link struct {
	Rel  string `json:"rel"`
	Href string `json:"href"`
}

// marker takes the next page's marker out of the links. Only the marker is
// believed: the link's host is Nova's idea of its own name, which behind a proxy
// may be wrong, and the filters are ours to repeat.
func marker(links []link) string {
	for _, l := range links {
		if l.Rel == "next" {
			if u, err := url.Parse(l.Href); err == nil {
				return u.Query().Get("marker")
			}
		}
	}
	return ""
}

// pages walks a list. page takes one page, says under which marker the next is
// ("" for none), and starts over where first is true: when the instance that
// marked a page is deleted while we turn it, Nova answers 400 and the list is
// begun again.
func (c *Client) pages(ctx context.Context, r request, page func(r request, first bool) (next string, err error)) error {
	for restarts := 0; ; restarts++ {
		seen := map[string]bool{}
		at := ""
		var err error
		for {
			q := maps.Clone(r.query)
			if at != "" {
				q.Set("marker", at)
			}
			one := r
			one.query, one.list = q, true
			var next string
			if next, err = page(one, at == ""); err != nil || next == "" {
				break
			}
			if seen[next] {
				return &Error{Op: r.op, Kind: ErrAnswered, Message: "Nova's pages run in a circle"}
			}
			if len(seen) == mostPages {
				return &Error{Op: r.op, Kind: ErrAnswered, Message: fmt.Sprintf("Nova's list has no end after %d pages", mostPages)}
			}
			seen[next] = true
			at = next
		}
		var e *Error
		if at == "" || restarts == 3 || !errors.As(err, &e) || e.Code != http.StatusBadRequest {
			return err
		}
	}
}

// Servers lists the instances whose host is host, of all projects and all pages.
//
// An empty list is not believed at once: from a cell that is down Nova leaves the
// instances of a filtered list out without a word and answers 200 (its API guide,
// "Handling Down Cells"; seen on Nova 26.2). So the service of the host is looked
// at too, and where Nova cannot see it, Servers fails with ErrAnswered. Below 2.69
// Nova does not tell.
func (c *Client) Servers(ctx context.Context, host string) ([]Server, error) {
	var servers []Server
	var known map[string]bool
	err := c.pages(ctx, request{
		op: "list instances of " + host, method: http.MethodGet, path: "servers/detail",
		query: url.Values{"host": {host}, "all_tenants": {"1"}, "limit": {pageSize}},
	}, func(r request, first bool) (string, error) {
		var answer struct {
			Servers items[server] `json:"servers"`
			Links   items[link]   `json:"servers_links"`
		}
		r.out = &answer
		r.whole = func() bool {
			return answer.Servers.every(func(s server) bool { return s.ID != "" })
		}
		if err := c.nova(ctx, r); err != nil {
			return "", err
		}
		if first {
			servers, known = nil, map[string]bool{}
		}
		for i := range answer.Servers {
			one := &answer.Servers[i]
			if err := one.check(r.op, host); err != nil {
				return "", err
			}
			if !known[one.ID] {
				known[one.ID] = true
				servers = append(servers, one.server())
			}
		}
		return marker(answer.Links), nil
	})
	if err == nil && len(servers) == 0 {
		err = c.believeNothing(ctx, "list instances of "+host, host)
	}
	if err != nil {
		return nil, err
	}
	return servers, nil
}

// believeNothing fails if a list about a host may be empty only because the host's
// cell is down.
func (c *Client) believeNothing(ctx context.Context, op, host string) error {
	services, err := c.Services(ctx)
	if err != nil {
		return err // it names its own request, which is what failed
	}
	for _, s := range services {
		if s.Host == host && s.Partial {
			return &Error{Op: op, Kind: ErrAnswered, Message: "the list is empty, but the host's cell is down, so that Nova cannot know"}
		}
	}
	return nil
}

// Rebuilding gives the ids of the instances of a host whose task is a rebuild or an
// evacuation, in no order: the short list, filtered by Nova's database.
func (c *Client) Rebuilding(ctx context.Context, host string) ([]string, error) {
	query := url.Values{"all_tenants": {"1"}, "host": {host}, "status": {"REBUILD"}, "limit": {pageSize}}
	var ids []string
	err := c.pages(ctx, request{op: "list what is rebuilt of " + host, method: http.MethodGet, path: "servers", query: query}, func(r request, first bool) (string, error) {
		type named struct{ ID string }
		var answer struct {
			Servers items[named] `json:"servers"`
			Links   items[link]  `json:"servers_links"`
		}
		r.out = &answer
		r.whole = func() bool {
			return answer.Servers.every(func(s named) bool { return s.ID != "" })
		}
		if err := c.nova(ctx, r); err != nil {
			return "", err
		}
		if first {
			ids = nil
		}
		for _, s := range answer.Servers {
			ids = append(ids, s.ID)
		}
		return marker(answer.Links), nil
	})
	return ids, err
}

// Server gives one instance, or ErrNotFound where Nova itself says that it is
// gone.
func (c *Client) Server(ctx context.Context, id string) (Server, error) {
	var answer struct {
		Server server `json:"server"`
	}
	err := c.nova(ctx, request{op: "show instance " + id, method: http.MethodGet, path: "servers/" + url.PathEscape(id), out: &answer,
		whole: func() bool { return answer.Server.ID != "" }})
	if err != nil {
		return Server{}, err
	}
	return answer.Server.server(), nil
}

// Evacuations lists the evacuation records that have host as source or as
// destination, newest first, those only that were created at since or later; zero
// is all of them. since is by Nova's clock (see Skew) and counts in whole seconds,
// as Nova's records do.
//
// changes-since is never used: it filters by the time of the last change, and a
// record that is stuck does not change. An empty answer is checked as in Servers.
func (c *Client) Evacuations(ctx context.Context, host string, since time.Time) ([]Migration, error) {
	op := "list evacuation records of " + host
	records, empty, err := c.evacuations(ctx, op, url.Values{"host": {host}}, since)
	if err == nil && empty {
		err = c.believeNothing(ctx, op, host)
	}
	if err != nil {
		return nil, err
	}
	return records, nil
}

// EvacuationsOf lists all evacuation records of an instance, whatever the hosts are, newest
// first.
func (c *Client) EvacuationsOf(ctx context.Context, id string) ([]Migration, error) {
	records, _, err := c.evacuations(ctx, "list evacuation records of instance "+id, url.Values{"instance_uuid": {id}}, time.Time{})
	return records, err
}

// evacuations lists the evacuation records that a query asks for and that were not made
// before since, newest first. empty is true where Nova lists none at all.
func (c *Client) evacuations(ctx context.Context, op string, query url.Values, since time.Time) (records []Migration, empty bool, err error) {
	_, a, err := c.ready(ctx, op)
	if err != nil {
		return nil, false, err
	}
	query.Set("migration_type", "evacuation")
	if !a.version.less(microversion{2, 59}) {
		query.Set("limit", pageSize) // before 2.59 there are no pages, and the whole list comes
	}
	since = since.Truncate(time.Second)
	var known map[int]bool
	err = c.pages(ctx, request{op: op, method: http.MethodGet, path: "os-migrations", query: query}, func(r request, first bool) (string, error) {
		type migration struct {
			ID       int     `json:"id"`
			Instance string  `json:"instance_uuid"`
			Type     string  `json:"migration_type"`
			Source   *string `json:"source_compute"`
			Dest     *string `json:"dest_compute"`
			Status   Status  `json:"status"`
			Created  stamp   `json:"created_at"`
			Updated  stamp   `json:"updated_at"`
		}
		var answer struct {
			Migrations items[migration] `json:"migrations"`
			Links      items[link]      `json:"migrations_links"`
		}
		r.out = &answer
		r.whole = func() bool {
			return answer.Migrations.every(func(m migration) bool { return m.ID != 0 && m.Instance != "" })
		}
		if err := c.nova(ctx, r); err != nil {
			return "", err
		}
		empty = first && len(answer.Migrations) == 0
		if first {
			records, known = nil, map[int]bool{}
		}
		older := false
		for _, m := range answer.Migrations {
			if m.Created.Before(since) {
				older = true
				continue
			}
			if m.Type != "evacuation" || known[m.ID] {
				continue
			}
			if m.Source == nil {
				return "", hidden(op, "from which host instance "+m.Instance+" was evacuated", "os_compute_api:os-migrations:index:host")
			}
			known[m.ID] = true
			one := Migration{ID: m.ID, Instance: m.Instance, Source: *m.Source, Status: m.Status, Created: m.Created.Time, Updated: m.Updated.Time}
			if m.Dest != nil {
				one.Dest = *m.Dest
			}
			records = append(records, one)
		}
		if older {
			return "", nil
		}
		return marker(answer.Links), nil
	})
	if err != nil {
		return nil, false, err
	}
	slices.SortStableFunc(records, func(a, b Migration) int {
		if by := b.Created.Compare(a.Created); by != 0 {
			return by
		}
		return b.ID - a.ID
	})
	return records, empty, nil
}

// Evacuate asks Nova to rebuild an instance on dest, if the scheduler finds that it
// will do (2.29 on; nova/conductor/manager.py, rebuild_instance), or where dest is
// empty on a host of the scheduler's choice.
// No error means that Nova accepted it, not more. The errors, and what they say
// about whether it is now under way:
//
//   - ErrNotSent: it is not; try again.
//   - ErrNotFound: it is not; the instance is gone.
//   - ErrSourceInUse: it is not; Nova does not know yet that the host is dead.
//   - ErrRefused: it is not, and trying again will not help.
//   - ErrAnswered, ErrUnknownOutcome: it may be; look before sending it again.
func (c *Client) Evacuate(ctx context.Context, id, dest string) error {
	body := map[string]any{}
	if dest != "" {
		body["host"] = dest
	}
	return c.nova(ctx, request{
		op: "evacuate instance " + id, method: http.MethodPost, path: "servers/" + url.PathEscape(id) + "/action",
		body: map[string]any{"evacuate": body},
	})
}

// Reset sets an instance's vm_state to error, whatever it was. Nova does nothing else to it.
func (c *Client) Reset(ctx context.Context, id string) error {
	return c.nova(ctx, request{
		op: "reset the state of instance " + id, method: http.MethodPost, path: "servers/" + url.PathEscape(id) + "/action",
		body: map[string]any{"os-resetState": map[string]any{"state": "error"}},
	})
}

// Stop shuts an instance down, as its user would. ErrRefused is also what Nova says of
// one that does not run.
func (c *Client) Stop(ctx context.Context, id string) error {
	return c.nova(ctx, request{
		op: "stop instance " + id, method: http.MethodPost, path: "servers/" + url.PathEscape(id) + "/action",
		body: map[string]any{"os-stop": nil},
	})
}

// Destinations names, sorted, the compute hosts on which the instance holds an
// allocation in placement. While it is being evacuated those are the source and,
// as soon as the scheduler has chosen, the destination, which the evacuation
// record names only later. It costs a request, and one or two more for each
// resource provider seen for the first time.
func (c *Client) Destinations(ctx context.Context, id string) ([]string, error) {
	op := "find the hosts that placement reserved for instance " + id
	var answer struct {
		Allocations map[string]json.RawMessage `json:"allocations"`
	}
	err := c.placement(ctx, request{op: op, method: http.MethodGet, path: "allocations/" + url.PathEscape(id), out: &answer,
		whole: func() bool { return answer.Allocations != nil }})
	if err != nil {
		return nil, err
	}
	hosts := map[string]bool{}
	for provider := range answer.Allocations {
		host, err := c.hostOf(ctx, op, provider)
		if err != nil {
			return nil, err
		}
		if host != "" {
			hosts[host] = true
		}
	}
	names := make([]string, 0, len(hosts))
	for host := range hosts {
		names = append(names, host)
	}
	slices.Sort(names)
	return names, nil
}

// hostOf gives the compute host of a resource provider, "" where it has none (a
// storage pool that hosts share). A compute node's provider has the uuid under
// which os-hypervisors shows it (2.53); a part of one (a NUMA cell, a GPU) is found
// by its root.
func (c *Client) hostOf(ctx context.Context, op, provider string) (string, error) {
	if host, ok := c.providers.Load(provider); ok {
		return host.(string), nil
	}
	host, err := c.hypervisor(ctx, op, provider)
	if errors.Is(err, ErrNotFound) {
		var answer struct {
			Root string `json:"root_provider_uuid"`
		}
		err = c.placement(ctx, request{op: op, method: http.MethodGet, path: "resource_providers/" + url.PathEscape(provider), out: &answer,
			whole: func() bool { return answer.Root != "" }})
		switch {
		case errors.Is(err, ErrNotFound):
			return "", nil // gone between the two questions
		case err != nil:
			return "", err
		case answer.Root == provider:
			return "", nil
		}
		if host, err = c.hypervisor(ctx, op, answer.Root); errors.Is(err, ErrNotFound) {
			return "", nil
		}
	}
	if err != nil {
		return "", err
	}
	c.providers.Store(provider, host)
	return host, nil
}

// hypervisor gives the compute host of a hypervisor. From 2.88 on Nova would ask the
// host for its uptime, and of one that is dead without Nova knowing answer 500 after a
// minute (seen on Nova 26.2).
func (c *Client) hypervisor(ctx context.Context, op, id string) (string, error) {
	var answer struct {
		Hypervisor struct {
			Service struct {
				Host string `json:"host"`
			} `json:"service"`
		} `json:"hypervisor"`
	}
	err := c.nova(ctx, request{op: op, method: http.MethodGet, path: "os-hypervisors/" + url.PathEscape(id), out: &answer,
		most: microversion{2, 87}, whole: func() bool { return answer.Hypervisor.Service.Host != "" }})
	return answer.Hypervisor.Service.Host, err
}
