// Package conformance holds the behaviour of Nova on which nova-evac relies, as tests that
// run on any cloud: on a real Nova, which shows it, and on the simulated one, which has to
// behave the same.
package conformance

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/pkg/history"
	"github.com/nova-evac/nova-evac/pkg/identity"
	"github.com/nova-evac/nova-evac/pkg/nova"
)

// Cloud is a cloud under test, with the hosts compute-1 to compute-4, none of which
// another test uses meanwhile.
type Cloud struct {
	// Keystone is its URL, ending in /v3; User, Password and Project an administrator's.
	Keystone, User, Password, Project string
	HTTP                              *http.Client
	// Boot makes servers on a host and waits until they are active.
	Boot func(ctx context.Context, n int, host string) ([]string, error)
	// Group boots a server on each of the hosts, all of one server group that allows one
	// per host.
	Group func(ctx context.Context, hosts ...string) ([]string, error)
	// Kill is the loss of power of a host: its nova-compute and its guests are gone.
	// Start powers it on.
	Kill, Start func(host string) error
	// Stop is a SIGTERM for its nova-compute; it returns when that has ended.
	Stop func(host string) error
	// Freeze stops one of Nova's own services, conductor or scheduler, or takes the cell's
	// database away; Thaw ends that.
	Freeze, Thaw func(service string) error
	// Knob changes how the hypervisor of a host carries out a rebuild: spawn_delay,
	// spawn_fail, spawn_hang; an empty value resets the knob. With resume_guests its
	// nova-compute starts the guests that ran when the host lost its power.
	Knob func(host, knob, value string) error
	// Guests tells which servers' guests a host runs.
	Guests func(host string) (map[string]bool, error)
}

// Hosts are the compute hosts: the source, two destinations that die, and one more.
const (
	source = "compute-4"
	dest   = "compute-2"
	other  = "compute-3"
	spare  = "compute-1"
)

// limit bounds every wait: a rebuild takes seconds.
const limit = 90 * time.Second

// suite is one run on one cloud.
type suite struct {
	*testing.T
	Cloud
	compute string // Nova's URL
	token   string
	client  *nova.Client
}

// Run carries out all cases, one after the other. Later cases use the servers and hosts that
// earlier ones left, so that a real Nova needs two minutes for all.
func Run(t *testing.T, cloud Cloud) {
	s := &suite{T: t, Cloud: cloud}
	s.login()
	for _, host := range []string{dest, other, spare} {
		s.must(s.Knob(host, "spawn_delay", "1"))
	}
	for _, c := range []struct {
		name string
		test func(s *suite)
	}{
		{"tokens and microversions", (*suite).doors},
		{"a host that is up is not evacuated, and its states once it is down", (*suite).states},
		{"lists, filters and pages", (*suite).lists},
		{"no valid host, and a rebuild that fails, leave an error on the source, and a retry works", (*suite).failures},
		{"a server group that allows one per host is kept, and a retry works when there is room", (*suite).group},
		{"the course of an evacuation", (*suite).course},
		{"a server deleted in flight takes its record with it", (*suite).deleted},
		{"a destination that dies leaves its evacuation open for ever", (*suite).destinationDies},
		{"a second evacuation in flight makes two guests of one server", (*suite).sentTwice},
		{"a conductor that was frozen does all that was accepted meanwhile, and an evacuation that was sent twice fails", (*suite).frozenConductor},
		{"an evacuation accepted while the scheduler is frozen is lost without a word", (*suite).frozenScheduler},
		{"a rebuild that ends while the cell's database is away never ends in Nova, and its guest is there", (*suite).databaseAway},
		{"a destination that was dead when it was chosen replays the message", (*suite).replayed},
		{"the source's start makes a record completed whose rebuild goes on, and the rebuild ends done after that", (*suite).sourceStartsEarly},
		{"a destination that is told to stop finishes first, and loses messages that come meanwhile", (*suite).gracefulStop},
		{"a delete and a stop that the dead host never got are undone by the evacuation", (*suite).resurrected},
		{"a record left behind destroys the guest that has come back", (*suite).leftBehind},
		{"a host that boots starts the guests that were not sent, and Nova evacuates them all the same", (*suite).guestsResumed},
		{"all of it at microversion 2.53", (*suite).oldest},
		{"the source's return completes its records, and only then it can be forced up", (*suite).sourceReturns},
	} {
		if !t.Run(c.name, func(t *testing.T) {
			one := *s
			one.T = t
			c.test(&one)
		}) {
			return // the next case builds on it
		}
	}
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) is(what string, got, want any) {
	s.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		s.Errorf("%s: %v, expected %v", what, got, want)
	}
}

// until waits until a value is the expected one.
func (s *suite) until(what, want string, get func() string) {
	s.Helper()
	last := ""
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if last = get(); last == want {
			return
		}
	}
	s.Fatalf("%s: %s, expected %s", what, last, want)
}

// answer is an answer of an API.
type answer struct {
	code   int
	header http.Header
	body   []byte
}

// message is an error's own sentence.
func (a answer) message() string {
	var faults map[string]struct{ Message string }
	if json.Unmarshal(a.body, &faults) == nil {
		for _, f := range faults {
			return f.Message
		}
	}
	return string(a.body)
}

// ask sends one request to Nova at a microversion, with the suite's token or another.
func (s *suite) ask(method, path, version, body string) answer {
	return s.askAs(s.token, method, path, version, body)
}

func (s *suite) askAs(token, method, path, version, body string) answer {
	s.Helper()
	return s.send(token, method, s.compute+path, version, body)
}

func (s *suite) send(token, method, url, version, body string) answer {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), limit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	s.must(err)
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("X-Auth-Token", token)
	}
	if version != "" {
		r.Header.Set("OpenStack-API-Version", "compute "+version)
	}
	got, err := s.HTTP.Do(r)
	s.must(err)
	defer got.Body.Close()
	data, err := io.ReadAll(got.Body)
	s.must(err)
	return answer{got.StatusCode, got.Header, data}
}

// get decodes the answer to a GET at 2.90.
func (s *suite) get(path string, into any) {
	s.Helper()
	a := s.ask("GET", path, "2.90", "")
	if a.code != http.StatusOK {
		s.Fatalf("GET %s: %d %s", path, a.code, a.body)
	}
	s.must(json.NewDecoder(bytes.NewReader(a.body)).Decode(into))
}

func (s *suite) login() {
	s.Helper()
	a := s.send("", "POST", s.Keystone+"/auth/tokens", "", fmt.Sprintf(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":%q,
		"domain":{"id":"default"},"password":%q}}},"scope":{"project":{"name":%q,"domain":{"id":"default"}}}}}`, s.User, s.Password, s.Project))
	s.is("login", a.code, http.StatusCreated)
	s.token = a.header.Get("X-Subject-Token")
	var body struct {
		Token struct {
			Catalog []struct {
				Type      string
				Endpoints []struct{ Interface, URL string }
			}
		}
	}
	s.must(json.Unmarshal(a.body, &body))
	for _, service := range body.Token.Catalog {
		for _, e := range service.Endpoints {
			if service.Type == "compute" && e.Interface == "internal" {
				s.compute = strings.TrimRight(e.URL, "/")
			}
		}
	}
	if s.compute == "" {
		s.Fatalf("the catalogue has no internal compute endpoint: %s", a.body)
	}
	s.client = s.connect("")
}

// connect makes a nova.Client that uses a microversion at most.
func (s *suite) connect(most string) *nova.Client {
	s.Helper()
	transport, _ := s.HTTP.Transport.(*http.Transport)
	options := nova.Options{AuthURL: s.Keystone, Username: s.User, Password: nova.Secret(s.Password), ProjectName: s.Project, MaxMicroversion: most}
	if transport != nil {
		options.Dial = transport.DialContext
	}
	client, err := nova.Connect(options)
	s.must(err)
	return client
}

// ---- looks at the cloud

type server struct {
	ID     string  `json:"id"`
	Status string  `json:"status"`
	VM     string  `json:"OS-EXT-STS:vm_state"`
	Task   *string `json:"OS-EXT-STS:task_state"`
	Host   *string `json:"OS-EXT-SRV-ATTR:host"`
	Fault  struct{ Message string }
}

// looks is a server in a line: status, vm_state, task, host.
func (s *suite) looks(id string) string {
	s.Helper()
	a := s.ask("GET", "/servers/"+id, "2.90", "")
	if a.code != http.StatusOK {
		return fmt.Sprint(a.code)
	}
	var got struct{ Server server }
	s.must(json.Unmarshal(a.body, &got))
	task, host := "-", "-"
	if got.Server.Task != nil {
		task = *got.Server.Task
	}
	if got.Server.Host != nil {
		host = *got.Server.Host
	}
	return fmt.Sprintf("%s %s %s %s", got.Server.Status, got.Server.VM, task, host)
}

func (s *suite) fault(id string) string {
	s.Helper()
	var got struct{ Server server }
	s.get("/servers/"+id, &got)
	return got.Server.Fault.Message
}

// records are a server's evacuation records, oldest first: status and destination.
func (s *suite) records(id string) string {
	s.Helper()
	var got struct {
		Migrations []struct {
			Status string  `json:"status"`
			Dest   *string `json:"dest_compute"`
		}
	}
	s.get("/os-migrations?migration_type=evacuation&instance_uuid="+id, &got)
	var lines []string
	for _, m := range got.Migrations {
		d := "?"
		if m.Dest != nil {
			d = *m.Dest
		}
		lines = append(lines, m.Status+" "+d)
	}
	slices.Reverse(lines)
	return strings.Join(lines, ", ")
}

// on names the hosts on which a server's guest runs.
func (s *suite) on(id string) string {
	s.Helper()
	var hosts []string
	for _, host := range []string{spare, dest, other, source} {
		guests, err := s.Guests(host)
		s.must(err)
		if guests[id] {
			hosts = append(hosts, host)
		}
	}
	return strings.Join(hosts, " ")
}

func (s *suite) action(id, body string) answer {
	s.Helper()
	return s.ask("POST", "/servers/"+id+"/action", "2.90", body)
}

func (s *suite) evacuate(id, host string) {
	s.Helper()
	body := `{"evacuate":{}}`
	if host != "" {
		body = fmt.Sprintf(`{"evacuate":{"host":%q}}`, host)
	}
	if a := s.action(id, body); a.code != http.StatusOK {
		s.Fatalf("evacuate: %d %s", a.code, a.body)
	}
}

func (s *suite) service(host string) nova.Service {
	s.Helper()
	services, err := s.client.Services(s.Context())
	s.must(err)
	m := identity.NewCloud(services, "", history.Clock{}).Named(host)
	s.must(m.Err())
	return m.Service
}

func (s *suite) set(host, body string) answer {
	s.Helper()
	return s.ask("PUT", "/os-services/"+s.service(host).ID, "2.90", body)
}

func (s *suite) boot(n int) []string {
	s.Helper()
	ids, err := s.Boot(s.Context(), n, source)
	s.must(err)
	return ids
}

// ---- the cases

func (s *suite) doors() {
	a := s.askAs("nonsense", "GET", "/os-services", "2.90", "")
	s.is("a junk token", a.code, http.StatusUnauthorized)
	if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Keystone uri=") {
		s.Errorf("WWW-Authenticate: %q", a.header.Get("WWW-Authenticate"))
	}
	a = s.ask("GET", "/os-services", "2.999", "")
	s.is("a microversion of the future", a.code, http.StatusNotAcceptable)
	if !strings.HasPrefix(a.message(), "Version 2.999 is not supported by the API. Minimum is 2.1 and maximum is 2.") {
		s.Error(a.message())
	}
	s.is("malformed", s.ask("GET", "/os-services", "two", "").code, http.StatusBadRequest)
	s.is("an unknown service", s.ask("PUT", "/os-services/00000000-0000-4000-a000-000000000001", "2.90", `{"forced_down":true}`).code, http.StatusNotFound)
	s.is("nothing asked for", s.set(spare, `{}`).code, http.StatusBadRequest)
	s.is("an empty reason", s.set(spare, `{"status":"disabled","disabled_reason":""}`).code, http.StatusBadRequest)
	version, err := s.client.Microversion(s.Context())
	s.must(err)
	s.is("our client's microversion", strings.HasPrefix(version, "2.9"), true)
}

// The servers of states: the state of each when its host dies, and the result.
var states = []struct {
	name    string
	from    string   // the host it is booted on, where it is another one
	prepare []string // actions
	before  string
	answer  string
	end     string
}{
	{"active", "", nil, "ACTIVE active - " + source, "200", "ACTIVE active - " + dest},
	{"stopped", "", []string{`{"os-stop":null}`}, "SHUTOFF stopped - " + source, "200", "SHUTOFF stopped - " + dest},
	{"in error", "", []string{`{"os-resetState":{"state":"error"}}`}, "ERROR error - " + source, "200", "ACTIVE active - " + dest},
	{"locked", "", []string{`{"lock":null}`}, "ACTIVE active - " + source, "200", "ACTIVE active - " + dest},
	{"paused", "", []string{`{"pause":null}`}, "PAUSED paused - " + source,
		"409 Cannot 'evacuate' instance ID while it is in vm_state paused", "PAUSED paused - " + source},
	{"suspended", "", []string{`{"suspend":null}`}, "SUSPENDED suspended - " + source,
		"409 Cannot 'evacuate' instance ID while it is in vm_state suspended", "SUSPENDED suspended - " + source},
	{"rescued", "", []string{`{"rescue":{}}`}, "RESCUE rescued - " + source,
		"409 Cannot 'evacuate' instance ID while it is in vm_state rescued", "RESCUE rescued - " + source},
	{"resized", spare, []string{`{"migrate":{"host":"` + source + `"}}`}, "VERIFY_RESIZE resized - " + source,
		"409 Cannot 'evacuate' instance ID while it is in vm_state resized", "VERIFY_RESIZE resized - " + source},
	{"shelved", "", []string{`{"shelve":null}`}, "SHELVED_OFFLOADED shelved_offloaded - -",
		"409 Cannot 'evacuate' instance ID while it is in vm_state shelved_offloaded", "SHELVED_OFFLOADED shelved_offloaded - -"},
}

func (s *suite) states() {
	ids := make([]string, len(states))
	for n, c := range states {
		one, err := s.Boot(s.Context(), 1, cmp.Or(c.from, source))
		s.must(err)
		ids[n] = one[0]
		for _, action := range c.prepare {
			if a := s.action(ids[n], action); a.code/100 != 2 { // rescue answers 200, with a password
				s.Errorf("%s: %s: %d %s", c.name, action, a.code, a.body)
			}
		}
		s.until(c.name, c.before, func() string { return s.looks(ids[n]) })
	}
	a := s.action(ids[0], `{"evacuate":{}}`)
	s.is("a host that is up", fmt.Sprint(a.code, " ", a.message()), "400 Compute service of "+source+" is still in use.")

	s.must(s.Kill(source))
	s.is("forced down", s.set(source, `{"forced_down":true,"status":"disabled","disabled_reason":"being tested"}`).code, http.StatusOK)
	down := s.service(source)
	s.is("read back", fmt.Sprintf("%v %v %v %s", down.ForcedDown, down.Up, down.Enabled, down.DisabledReason), "true false false being tested")
	for body, want := range map[string]int{
		`{"evacuate":{"host":"nosuch"}}`:                 http.StatusNotFound,
		`{"evacuate":{"host":"` + source + `"}}`:         http.StatusBadRequest,
		`{"evacuate":{"host":"compute-1","force":true}}`: http.StatusBadRequest,
		`{"evacuate":{"onSharedStorage":true}}`:          http.StatusBadRequest,
	} {
		s.is(body, s.action(ids[0], body).code, want)
	}
	s.is("an unknown server", s.action("00000000-0000-4000-a000-000000000001", `{"evacuate":{}}`).code, http.StatusNotFound)
	for n, c := range states {
		a := s.action(ids[n], fmt.Sprintf(`{"evacuate":{"host":%q}}`, dest))
		got := fmt.Sprint(a.code)
		if a.code != http.StatusOK {
			got += " " + strings.ReplaceAll(a.message(), ids[n], "ID")
		} else if len(bytes.TrimSpace(a.body)) > 0 {
			s.Errorf("%s: a body: %s", c.name, a.body)
		}
		s.is(c.name, got, c.answer)
	}
	for n, c := range states {
		s.until(c.name, c.end, func() string { return s.looks(ids[n]) })
		if c.answer == "200" {
			s.until(c.name+": records", "done "+dest, func() string { return s.records(ids[n]) })
			s.is(c.name+": guest", s.on(ids[n]), dest)
		} else {
			s.is(c.name+": records", s.records(ids[n]), "")
		}
	}
	for n, c := range states {
		if c.answer != "200" { // no later case needs it
			s.is("delete", s.ask("DELETE", "/servers/"+ids[n], "2.90", "").code, http.StatusNoContent)
		}
	}
}

// lists looks at the servers that states has left on dest.
func (s *suite) lists() {
	list := func(query string) (ids []string, next string) {
		s.Helper()
		var got struct {
			Servers []server
			Links   []struct{ Rel, Href string } `json:"servers_links"`
		}
		s.get("/servers/detail?"+query, &got)
		for _, one := range got.Servers {
			ids = append(ids, one.ID)
		}
		for _, link := range got.Links {
			if link.Rel == "next" {
				next = link.Href
			}
		}
		return ids, next
	}
	all, _ := list("all_tenants=1&host=" + dest)
	if len(all) < 4 {
		s.Fatalf("%d servers on %s", len(all), dest)
	}
	first, next := list("all_tenants=1&limit=2&host=" + dest)
	if len(first) != 2 || !strings.Contains(next, "marker="+first[1]) {
		s.Errorf("a page of two: %v, next %s", first, next)
	}
	unknown, _ := list("all_tenants=1&host=nosuch")
	s.is("an unknown host", len(unknown), 0)
	s.is("a bad marker", s.ask("GET", "/servers/detail?all_tenants=1&marker=00000000-0000-4000-a000-000000000001", "2.90", "").code, http.StatusBadRequest)
	s.is("an unknown key", s.ask("GET", "/servers/detail?all_tenants=1&colour=red", "2.90", "").code, http.StatusBadRequest)

	var records struct {
		Migrations []struct {
			UUID   string `json:"uuid"`
			Source string `json:"source_compute"`
			Type   string `json:"migration_type"`
		}
		Links []struct{ Rel, Href string } `json:"migrations_links"`
	}
	s.get("/os-migrations?migration_type=evacuation&limit=3&host="+source, &records)
	if len(records.Migrations) != 3 || len(records.Links) == 0 || records.Migrations[0].Source != source || records.Migrations[0].Type != "evacuation" {
		s.Errorf("a page of three records: %+v", records)
	}
	s.is("records by an unknown key", s.ask("GET", "/os-migrations?colour=red", "2.90", "").code, http.StatusBadRequest)

	servers, err := s.client.Servers(s.Context(), dest)
	s.must(err)
	s.is("our client lists as many", len(servers), len(all))
	done, err := s.client.Evacuations(s.Context(), source, time.Now().Add(-time.Hour))
	s.must(err)
	if len(done) < 4 || done[0].Source != source || done[0].Status != "done" {
		s.Errorf("our client's records: %+v", done)
	}
}

// bootOnDead boots on the source, which it lets in for that, and kills it again.
func (s *suite) bootOnDead(n int, prepare ...func(ids []string)) []string {
	s.Helper()
	s.must(s.Start(source))
	s.until("force up", "200", func() string {
		return fmt.Sprint(s.set(source, `{"forced_down":false}`).code)
	})
	s.is("enable", s.set(source, `{"status":"enabled"}`).code, http.StatusOK)
	s.up(source)
	ids := s.boot(n)
	for _, do := range prepare {
		do(ids)
	}
	s.must(s.Kill(source))
	s.is("force down", s.set(source, `{"forced_down":true}`).code, http.StatusOK)
	return ids
}

func (s *suite) failures() {
	ids := s.bootOnDead(3, func(ids []string) {
		s.is("stop", s.action(ids[2], `{"os-stop":null}`).code, http.StatusAccepted)
		s.until("stopped", "SHUTOFF stopped - "+source, func() string { return s.looks(ids[2]) })
	})
	none, fails, stopped := ids[0], ids[1], ids[2]
	s.is("disable", s.set(dest, `{"status":"disabled"}`).code, http.StatusOK)
	s.evacuate(none, dest)
	s.until("no valid host", "ERROR error - "+source, func() string { return s.looks(none) })
	s.is("record", s.records(none), "error "+dest)
	if f := s.fault(none); !strings.HasPrefix(f, "No valid host was found") {
		s.Errorf("fault: %s", f)
	}
	s.is("enable", s.set(dest, `{"status":"enabled"}`).code, http.StatusOK)
	s.evacuate(none, dest)
	s.until("again", "ACTIVE active - "+dest, func() string { return s.looks(none) })
	s.until("records", "error "+dest+", done "+dest, func() string { return s.records(none) })

	s.must(s.Knob(other, "spawn_fail", "no space left on device"))
	s.evacuate(fails, other)
	s.until("a rebuild that fails", "ERROR error - "+source, func() string { return s.looks(fails) })
	s.until("record", "failed "+other, func() string { return s.records(fails) })
	if f := s.fault(fails); !strings.Contains(f, "no space left on device") {
		s.Errorf("fault: %s", f)
	}
	s.evacuate(stopped, other)
	s.until("a rebuild that fails of one that was stopped", "ERROR error - "+source, func() string { return s.looks(stopped) })
	for id, want := range map[string]bool{stopped: true, fails: false} {
		actions, err := s.client.Actions(s.Context(), id)
		s.must(err)
		s.is("its actions still tell whether it was stopped", history.StoppedLast(actions), want)
	}
	s.must(s.Knob(other, "spawn_fail", ""))
	s.evacuate(stopped, other)
	s.until("it is started", "ACTIVE active - "+other, func() string { return s.looks(stopped) })
	s.until("it can be stopped", "202", func() string { return fmt.Sprint(s.action(stopped, `{"os-stop":null}`).code) })
	s.evacuate(fails, other)
	s.until("again", "ACTIVE active - "+other, func() string { return s.looks(fails) })
	s.until("records", "failed "+other+", done "+other, func() string { return s.records(fails) })
}

func (s *suite) group() {
	var ids []string
	s.bootOnDead(1, func([]string) {
		var err error
		ids, err = s.Group(s.Context(), source, dest, other, spare)
		s.must(err)
	})
	id := ids[0]
	s.evacuate(id, "")
	s.until("no room", "ERROR error - "+source, func() string { return s.looks(id) })
	s.evacuate(id, other)
	s.until("nor on a host by name", "ERROR error - "+source+", error ?, error "+other, func() string { return s.looks(id) + ", " + s.records(id) })
	if f := s.fault(id); !strings.HasPrefix(f, "No valid host was found") {
		s.Errorf("fault: %s", f)
	}
	s.is("delete", s.ask("DELETE", "/servers/"+ids[1], "2.90", "").code, http.StatusNoContent)
	s.until("deleted", "404", func() string { return s.looks(ids[1]) })
	s.evacuate(id, "")
	s.until("there is room", "ACTIVE active - "+dest+", error ?, error "+other+", done "+dest, func() string { return s.looks(id) + ", " + s.records(id) })
	for _, id := range []string{ids[0], ids[2], ids[3]} {
		s.is("delete", s.ask("DELETE", "/servers/"+id, "2.90", "").code, http.StatusNoContent)
	}
}

func (s *suite) course() {
	id := s.bootOnDead(1)[0]
	s.must(s.Knob(dest, "spawn_hang", "yes"))
	s.evacuate(id, dest)
	if l := s.looks(id); !strings.HasPrefix(l, "REBUILD active rebuild") {
		s.Errorf("right after the answer: %s", l)
	}
	if r := s.records(id); r != "accepted "+dest && r != "pre-migrating "+dest {
		s.Errorf("right after the answer: record %s", r)
	}
	s.until("spawning", "REBUILD active rebuild_spawning "+source, func() string { return s.looks(id) })
	s.is("record", s.records(id), "pre-migrating "+dest)
	s.is("guest", s.on(id), "")
	rebuilding, err := s.client.Rebuilding(s.Context(), source)
	s.must(err)
	s.is("what is being rebuilt", rebuilding, []string{id})
	room, err := s.client.Destinations(s.Context(), id)
	s.must(err)
	s.is("placement's allocations", room, []string{dest, source})

	second := s.action(id, fmt.Sprintf(`{"evacuate":{"host":%q}}`, "nosuch"))
	s.is("an unknown target is refused all the same", second.code, http.StatusNotFound)
	s.must(s.Knob(dest, "spawn_hang", ""))
	// From here on the host must change before the record is done.
	for end := time.Now().Add(limit); ; {
		r := s.records(id)
		l := s.looks(id)
		if r == "done "+dest && !strings.HasSuffix(l, " "+dest) {
			s.Errorf("the record is done, and the server %s", l)
		}
		if r == "done "+dest {
			break
		}
		if time.Now().After(end) {
			s.Fatalf("record %s, server %s", r, l)
		}
	}
	s.is("end", s.looks(id), "ACTIVE active - "+dest)
	s.is("guest", s.on(id), dest)
	rebuilding, err = s.client.Rebuilding(s.Context(), source)
	s.must(err)
	s.is("nothing is being rebuilt", len(rebuilding), 0)
}

func (s *suite) deleted() {
	id := s.bootOnDead(1)[0]
	s.must(s.Knob(dest, "spawn_hang", "yes"))
	s.evacuate(id, dest)
	s.until("spawning", "REBUILD active rebuild_spawning "+source, func() string { return s.looks(id) })
	s.is("delete", s.ask("DELETE", "/servers/"+id, "2.90", "").code, http.StatusNoContent)
	s.until("gone", "404", func() string { return s.looks(id) })
	s.is("records", s.records(id), "")
	s.must(s.Knob(dest, "spawn_hang", ""))
	s.until("its guest is orphaned", dest, func() string { return s.on(id) })
}

func (s *suite) destinationDies() {
	id := s.bootOnDead(1)[0]
	s.must(s.Knob(dest, "spawn_hang", "yes"))
	s.evacuate(id, dest)
	s.until("spawning", "REBUILD active rebuild_spawning "+source, func() string { return s.looks(id) })
	s.must(s.Kill(dest))
	s.must(s.Knob(dest, "spawn_hang", ""))
	s.must(s.Start(dest))
	s.is("after its restart", s.looks(id)+", "+s.records(id), "REBUILD active rebuild_spawning "+source+", pre-migrating "+dest)
	s.is("force down", s.set(dest, `{"forced_down":true}`).code, http.StatusOK)
	s.evacuate(id, other)
	s.until("elsewhere", "ACTIVE active - "+other, func() string { return s.looks(id) })
	// A destination that audits its resources while a later evacuation is rebuilt marks the
	// older record (nova/compute/resource_tracker.py); it does so once a minute.
	s.until("records", "pre-migrating "+dest+", done "+other, func() string {
		return strings.Replace(s.records(id), "error "+dest, "pre-migrating "+dest, 1)
	})
	s.is("guest", s.on(id), other)
	s.is("force up", s.set(dest, `{"forced_down":false}`).code, http.StatusOK)
}

// spawning evacuates a server, and waits until its guest is made.
func (s *suite) spawning(id, host string) {
	s.Helper()
	s.evacuate(id, host)
	s.until("spawning", "REBUILD active rebuild_spawning "+source, func() string { return s.looks(id) })
}

// up waits until a host whose nova-compute has just started can be used: until its next
// heartbeat, five seconds after the start (nova/servicegroup/api.py). Until then Nova
// counts the last heartbeat before the start, which may become a minute old at any moment.
func (s *suite) up(host string) {
	s.Helper()
	before := s.service(host).Updated
	s.until(host+" up, with another heartbeat", "true", func() string {
		service := s.service(host)
		return fmt.Sprint(service.Up && !service.Updated.Equal(before))
	})
}

func (s *suite) sentTwice() { // A
	id := s.bootOnDead(1)[0]
	s.must(s.Knob(dest, "spawn_hang", "yes"))
	s.spawning(id, dest)
	s.evacuate(id, other)
	s.until("the second one's guest", other, func() string { return s.on(id) })
	s.must(s.Knob(dest, "spawn_hang", ""))
	s.until("two guests", dest+" "+other, func() string { return s.on(id) })
	s.until("records", "done failed", func() string {
		var status []string
		for _, r := range strings.Split(s.records(id), ", ") {
			word, _, _ := strings.Cut(r, " ")
			status = append(status, word)
		}
		slices.Sort(status)
		return strings.Join(status, " ")
	})
	s.until("in error", "ERROR error -", func() string { return s.looks(id)[:len("ERROR error -")] })
	if f := s.fault(id); !strings.HasPrefix(f, "Conflict updating instance") {
		s.Error(f)
	}
	s.is("delete", s.ask("DELETE", "/servers/"+id, "2.90", "").code, http.StatusNoContent)
}

func (s *suite) frozenConductor() { // H
	ids := s.bootOnDead(2)
	s.must(s.Freeze("conductor"))
	thaw := sync.OnceValue(func() error { return s.Thaw("conductor") })
	defer thaw()
	once, twice := ids[0], ids[1]
	s.evacuate(once, dest)
	s.evacuate(twice, dest)
	s.evacuate(twice, dest)
	for _, id := range ids {
		s.is("frozen", s.looks(id), "REBUILD active rebuilding "+source)
	}
	s.is("its record", s.records(once), "accepted "+dest)
	s.is("their records", s.records(twice), "accepted "+dest+", accepted "+dest)
	s.must(thaw())
	s.until("the one", "ACTIVE active - "+dest+", done "+dest, func() string { return s.looks(once) + ", " + s.records(once) })
	// Both work on the server at once. Chance decides which of them fails, at which step, and
	// whether there is a guest in the end.
	s.until("the other is in error", "error", func() string { return strings.Fields(s.looks(twice) + " -")[1] })
	s.is("delete", s.ask("DELETE", "/servers/"+twice, "2.90", "").code, http.StatusNoContent)
}

func (s *suite) frozenScheduler() { // I
	id := s.bootOnDead(1)[0]
	s.must(s.Freeze("scheduler"))
	thaw := sync.OnceValue(func() error { return s.Thaw("scheduler") })
	defer thaw()
	s.evacuate(id, dest)
	var course nova.Course
	s.until("given up", "MessagingTimeout", func() string {
		course = s.traced(id)
		return course.Err
	})
	s.must(thaw())
	s.is("nothing else shows it", s.looks(id)+", "+s.records(id), "REBUILD active rebuilding "+source+", accepted "+dest)
	s.is("never sent, never taken", fmt.Sprint(course.Sent.IsZero(), course.Taken.IsZero()), "true true")
	s.evacuate(id, dest)
	s.until("sent again", "ACTIVE active - "+dest+", done "+dest+", accepted "+dest, func() string { return s.looks(id) + ", " + s.records(id) })
	s.is("delete", s.ask("DELETE", "/servers/"+id, "2.90", "").code, http.StatusNoContent)
}

func (s *suite) databaseAway() {
	id := s.bootOnDead(1)[0]
	s.must(s.Knob(dest, "spawn_hang", "yes"))
	s.spawning(id, dest)
	s.must(s.Freeze("database"))
	thaw := sync.OnceValue(func() error { return s.Thaw("database") })
	defer thaw()
	s.must(s.Knob(dest, "spawn_hang", ""))
	s.until("its guest", dest, func() string { return s.on(id) })
	s.is("the list of servers", s.ask("GET", "/servers/detail?all_tenants=1", "2.90", "").code, http.StatusInternalServerError)
	time.Sleep(5 * time.Second) // nothing tells when the destination has tried to write that
	s.must(thaw())
	still := "REBUILD active rebuild_spawning " + source + ", pre-migrating " + dest
	s.until("the database is back", "200", func() string { return fmt.Sprint(s.ask("GET", "/servers/detail?all_tenants=1", "2.90", "").code) })
	s.is("nothing has changed", s.looks(id)+", "+s.records(id), still)
	course := s.traced(id)
	s.is("taken, ended, failed", fmt.Sprint(!course.Taken.IsZero(), !course.Ended.IsZero(), course.Failed), "true false false")
	s.is("reset", s.action(id, `{"os-resetState":{"state":"error"}}`).code, http.StatusAccepted)
	s.evacuate(id, dest)
	s.until("sent there again", "ERROR error - "+source+", pre-migrating "+dest+", failed "+dest, func() string { return s.looks(id) + ", " + s.records(id) })
	if f := s.fault(id); !strings.HasSuffix(f, "already exists.") {
		s.Error(f)
	}
	s.is("failed", s.traced(id).Failed, true)
	s.must(s.Kill(dest)) // its guests are gone
	s.must(s.Start(dest))
	s.up(dest)
	s.evacuate(id, dest)
	s.until("without the guest", "ACTIVE active - "+dest, func() string { return s.looks(id) })
	s.is("delete", s.ask("DELETE", "/servers/"+id, "2.90", "").code, http.StatusNoContent)
}

// traced gives the events of the last evacuation of an instance from the source.
func (s *suite) traced(id string) nova.Course {
	s.Helper()
	records, err := s.client.EvacuationsOf(s.Context(), id)
	s.must(err)
	records = slices.DeleteFunc(records, func(m nova.Migration) bool { return m.Source != source })
	course, err := s.client.Course(s.Context(), id, records[0].Created)
	s.must(err)
	return course
}

func (s *suite) replayed() { // C
	id := s.bootOnDead(1)[0]
	s.must(s.Kill(dest))
	s.evacuate(id, dest)
	s.until("believed up", "REBUILD active rebuilding "+source+", accepted "+dest, func() string { return s.looks(id) + ", " + s.records(id) })
	// Forced down before the scheduler has looked, the evacuation would end for want of a host.
	s.until("the scheduler to have looked", fmt.Sprint([]string{dest, source}), func() string {
		room, err := s.client.Destinations(s.Context(), id)
		s.must(err)
		return fmt.Sprint(room)
	})
	s.is("force down", s.set(dest, `{"forced_down":true}`).code, http.StatusOK)
	s.evacuate(id, other)
	s.until("sent elsewhere", "ACTIVE active - "+other, func() string { return s.looks(id) })
	// The conductor asks for no order of the records, so Nova's database decides which of the
	// two records belongs to which evacuation.
	sorted := func() string {
		lines := strings.Split(s.records(id), ", ")
		slices.Sort(lines)
		return strings.Join(lines, ", ")
	}
	s.until("records cross", "accepted "+other+", done "+other, sorted)
	s.must(s.Start(dest))
	s.until("it comes back", "REBUILD error rebuilding "+other, func() string { return s.looks(id) })
	s.until("one record takes the blame", "true", func() string { return fmt.Sprint(strings.Contains(s.records(id), "failed "+dest)) })
	s.is("guest", s.on(id), other)
	s.is("force up", s.set(dest, `{"forced_down":false}`).code, http.StatusOK)
	s.up(dest)
	s.is("delete", s.ask("DELETE", "/servers/"+id, "2.90", "").code, http.StatusNoContent)
}

func (s *suite) sourceStartsEarly() { // F
	id := s.bootOnDead(1)[0]
	s.must(s.Knob(dest, "spawn_hang", "yes"))
	s.spawning(id, dest)
	s.must(s.Start(source))
	s.until("completed in the middle", "REBUILD active rebuild_spawning "+source+", completed "+dest, func() string { return s.looks(id) + ", " + s.records(id) })
	s.must(s.Knob(dest, "spawn_hang", ""))
	s.until("then done", "ACTIVE active - "+dest+", done "+dest, func() string { return s.looks(id) + ", " + s.records(id) })
	s.is("force up too early", s.set(source, `{"forced_down":false}`).code, http.StatusBadRequest)
	s.must(s.Stop(source))
	s.must(s.Start(source))
	s.until("its next start", "completed "+dest, func() string { return s.records(id) })
	s.is("force up", s.set(source, `{"forced_down":false}`).code, http.StatusOK)
	s.must(s.Kill(source))
}

func (s *suite) gracefulStop() { // K
	ids := s.bootOnDead(3)
	first, lost, later := ids[0], ids[1], ids[2]
	s.must(s.Knob(dest, "spawn_hang", "yes"))
	s.spawning(first, dest)
	stopped := make(chan error, 1)
	go func() { stopped <- s.Stop(dest) }()
	time.Sleep(time.Second) // nothing tells when it has taken the signal
	s.evacuate(lost, dest)
	s.until("sent", "true", func() string { return fmt.Sprint(!s.traced(lost).Sent.IsZero()) })
	time.Sleep(time.Second) // nothing tells when it has taken the message
	s.must(s.Knob(dest, "spawn_hang", ""))
	s.must(<-stopped)
	s.until("finished", "ACTIVE active - "+dest+", done "+dest, func() string { return s.looks(first) + ", " + s.records(first) })
	s.must(s.Start(dest))
	s.up(dest)
	time.Sleep(2 * time.Second) // a record is a whole second's
	s.evacuate(later, dest)
	s.until("a later one is taken", "ACTIVE active - "+dest+", done "+dest, func() string { return s.looks(later) + ", " + s.records(later) })
	s.is("the other is lost", s.looks(lost)+", "+s.records(lost), "REBUILD active rebuilding "+source+", accepted "+dest)
	course := s.traced(lost)
	s.is("as its events show", fmt.Sprint(course.Sent.Before(s.traced(later).Taken), course.Taken.IsZero(), course.Err), "true true")
	s.evacuate(lost, dest)
	s.until("sent again", "ACTIVE active - "+dest+", done "+dest+", accepted "+dest, func() string { return s.looks(lost) + ", " + s.records(lost) })
	s.is("delete", s.ask("DELETE", "/servers/"+lost, "2.90", "").code, http.StatusNoContent)
}

func (s *suite) resurrected() { // P
	ids := s.bootOnDead(2, func(ids []string) {
		s.must(s.Kill(source))
		s.is("delete", s.ask("DELETE", "/servers/"+ids[0], "2.90", "").code, http.StatusNoContent)
		s.is("stop", s.action(ids[1], `{"os-stop":null}`).code, http.StatusAccepted)
		s.until("deleting", "ACTIVE active deleting "+source, func() string { return s.looks(ids[0]) })
		s.until("powering off", "ACTIVE active powering-off "+source, func() string { return s.looks(ids[1]) })
	})
	for _, id := range ids {
		s.evacuate(id, dest)
	}
	for _, id := range ids {
		s.until("undone", "ACTIVE active - "+dest, func() string { return s.looks(id) })
		s.until("record", "done "+dest, func() string { return s.records(id) })
	}
	s.must(s.Start(source))
	s.until("the delete is replayed", "404", func() string { return s.looks(ids[0]) })
	s.is("the guest is orphaned", s.on(ids[0]), dest)
	s.is("the other", s.looks(ids[1]), "ACTIVE active - "+dest)
	s.must(s.Kill(source))
}

func (s *suite) leftBehind() { // N
	id := s.bootOnDead(1)[0]
	s.must(s.Knob(dest, "spawn_hang", "yes"))
	s.spawning(id, dest)
	s.must(s.Kill(dest))
	s.must(s.Knob(dest, "spawn_hang", ""))
	s.is("force down", s.set(dest, `{"forced_down":true}`).code, http.StatusOK)
	s.evacuate(id, other)
	s.until("elsewhere", "pre-migrating "+dest+", done "+other, func() string { return s.records(id) })
	s.must(s.Start(source))
	s.until("only the newest record is completed", "pre-migrating "+dest+", completed "+other, func() string { return s.records(id) })
	s.is("force up, with one left", s.set(source, `{"forced_down":false}`).code, http.StatusOK)
	s.up(source)
	s.must(s.Kill(other))
	s.is("force down", s.set(other, `{"forced_down":true}`).code, http.StatusOK)
	s.is("enable", s.set(source, `{"status":"enabled"}`).code, http.StatusOK)
	s.evacuate(id, source)
	s.until("home again", "ACTIVE active - "+source, func() string { return s.looks(id) })
	s.until("done", "pre-migrating "+dest+", completed "+other+", done "+source, func() string { return s.records(id) })
	s.is("guest", s.on(id), source)
	s.must(s.Stop(source))
	s.must(s.Start(source))
	s.until("completed", "completed "+dest+", completed "+other+", done "+source, func() string { return s.records(id) })
	s.until("its guest is gone", "", func() string { return s.on(id) })
	s.is("and Nova does not know", s.looks(id), "ACTIVE active - "+source)
	s.is("delete", s.ask("DELETE", "/servers/"+id, "2.90", "").code, http.StatusNoContent)
	for _, host := range []string{dest, other} {
		s.must(s.Start(host))
		s.until("force up", "200", func() string { return fmt.Sprint(s.set(host, `{"forced_down":false}`).code) })
		s.up(host)
	}
	s.must(s.Kill(source))
}

// guestsResumed: of three servers on a dead host one is evacuated, one on its way and one
// not sent when the host boots.
func (s *suite) guestsResumed() {
	ids := s.bootOnDead(3)
	gone, going, left := ids[0], ids[1], ids[2]
	s.evacuate(gone, other)
	s.until("evacuated", "done "+other, func() string { return s.records(gone) })
	s.must(s.Knob(dest, "spawn_hang", "yes"))
	s.spawning(going, dest)
	s.must(s.Knob(source, "resume_guests", "yes"))
	beat := s.service(source).Updated
	s.must(s.Start(source))
	s.until("the guest that was not sent", source, func() string { return s.on(left) })
	s.is("the one that has left", s.on(gone), other)
	s.is("the one on its way", s.on(going), "")
	s.is("no heartbeat yet", s.service(source).Updated, beat)
	s.until("a heartbeat", "true", func() string { return fmt.Sprint(s.service(source).Updated.After(beat)) })
	s.is("and still down to Nova", s.service(source).Up, false)

	s.evacuate(left, other)
	s.until("two guests", other+" "+source, func() string { return s.on(left) })
	s.until("which Nova takes for a success", "ACTIVE active - "+other+", done "+other, func() string { return s.looks(left) + ", " + s.records(left) })
	s.must(s.Knob(dest, "spawn_hang", ""))
	s.until("the one on its way arrives", dest, func() string { return s.on(going) })
	s.until("its record", "done "+dest, func() string { return s.records(going) })
	s.must(s.Stop(source))
	s.must(s.Start(source))
	s.until("only its start ends the second guest", other, func() string { return s.on(left) })
	s.until("completed", "completed "+other+", completed "+dest, func() string { return s.records(left) + ", " + s.records(going) })
	s.must(s.Knob(source, "resume_guests", ""))
	s.must(s.Kill(source))
}

func (s *suite) oldest() {
	old := s.connect(nova.MinMicroversion)
	ids := s.bootOnDead(1)
	version, err := old.Microversion(s.Context())
	s.must(err)
	s.is("microversion", version, "2.53")
	services, err := old.Services(s.Context())
	s.must(err)
	m := identity.NewCloud(services, "", history.Clock{}).Named(source)
	s.must(m.Err())
	s.must(old.ForceDown(s.Context(), m.Service, "being tested"))
	servers, err := old.Servers(s.Context(), source)
	s.must(err)
	if !slices.ContainsFunc(servers, func(one nova.Server) bool { return one.ID == ids[0] && one.VMState == "active" && one.Host == source }) {
		s.Errorf("%+v", servers)
	}
	s.must(old.Evacuate(s.Context(), ids[0], dest))
	s.until("evacuated", "ACTIVE active - "+dest+", done "+dest, func() string { return s.looks(ids[0]) + ", " + s.records(ids[0]) })
	records, err := old.Evacuations(s.Context(), source, time.Time{})
	s.must(err)
	if len(records) == 0 || records[0].Instance != ids[0] || records[0].Status != "done" || records[0].Dest != dest {
		s.Errorf("%+v", records[:min(len(records), 3)])
	}
	missing, err := old.Missing(s.Context())
	s.must(err)
	s.is("Nova's services that are missing", len(missing), 0)
}

func (s *suite) sourceReturns() {
	id := s.bootOnDead(1)[0]
	s.evacuate(id, other)
	s.until("evacuated", "done "+other, func() string { return s.records(id) })
	a := s.set(source, `{"forced_down":false}`)
	s.is("force up too early", a.code, http.StatusBadRequest)
	if !strings.Contains(a.message(), "evacuation migration records remain associated with the host") {
		s.Error(a.message())
	}
	s.must(s.Start(source))
	s.until("completed", "completed "+other, func() string { return s.records(id) })
	s.is("still forced down", s.service(source).ForcedDown, true)
	s.is("force up", s.set(source, `{"forced_down":false}`).code, http.StatusOK)
	s.is("enable", s.set(source, `{"status":"enabled"}`).code, http.StatusOK)
	s.is("the instance", s.looks(id)+" "+s.on(id), "ACTIVE active - "+other+" "+other)
}
