package nova

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestConnectNamesTheOptionThatIsWrong(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*Options)
		want   string // "" is no error
	}{
		{"nothing is wrong and nothing is asked of the network", func(*Options) {}, ""},
		{"every form of endpoint_type is known", func(o *Options) { o.EndpointType = "PublicURL" }, ""},
		{"an empty endpoint_type is internal", func(o *Options) { o.EndpointType = "" }, ""},
		{"no address", func(o *Options) { o.AuthURL = "" }, `auth_url "" must look like https://HOST:5000/v3`},
		{"an address without a scheme", func(o *Options) { o.AuthURL = "keystone:5000" }, "auth_url"},
		{"an address that is none", func(o *Options) { o.AuthURL = "http://[::1" }, "auth_url is not a URL"},
		{"an endpoint type of another kind", func(o *Options) { o.EndpointType = "private" }, `endpoint_type "private" is none of internalURL, publicURL, adminURL`},
		{"a certificate file that is not there", func(o *Options) { o.CACert = empty + "x" }, "cacert: open"},
		{"a certificate file without one", func(o *Options) { o.CACert = empty }, "cacert: there is no PEM certificate in"},
		{"a client certificate that is none", func(o *Options) { o.ClientCert = empty }, "cert and key:"},
		{"a microversion that is none", func(o *Options) { o.MaxMicroversion = "latest" }, `max_microversion: "latest" is not a microversion`},
		{"a microversion that is too low", func(o *Options) { o.MaxMicroversion = "2.52" }, "max_microversion 2.52 is too low"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := Options{AuthURL: "http://keystone.invalid:5000/v3", EndpointType: "internalURL"}
			tt.change(&o)
			_, err := Connect(o)
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

func TestACertificateIsChecked(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fault(w, 401, "error", "you got through")
	}))
	defer server.Close()
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		o    Options
		want string
	}{
		{"against the system's authorities", Options{}, "certificate signed by unknown authority"},
		{"against the file of cacert", Options{CACert: ca}, "you got through"},
		{"not at all where insecure is set", Options{Insecure: true}, "you got through"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.AuthURL, tt.o.Username, tt.o.Password, tt.o.ProjectName = server.URL, "u", thePassword, "p"
			client, err := Connect(tt.o)
			if err != nil {
				t.Fatal(err)
			}
			err = client.Check(t.Context())
			checkKind(t, err, ErrNotSent)
			if !strings.Contains(fmt.Sprint(err), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
			client.http.CloseIdleConnections()
		})
	}
}

func TestKeystonesAddressIsAlwaysThatOfItsV3API(t *testing.T) {
	for given, want := range map[string]string{
		"http://c:5000":                "http://c:5000/v3/",
		"http://c:5000/":               "http://c:5000/v3/",
		"http://c:5000/v3":             "http://c:5000/v3/",
		" http://c:5000/v3/ ":          "http://c:5000/v3/",
		"http://c:5000/v2.0":           "http://c:5000/v3/",
		"https://c/identity":           "https://c/identity/v3/",
		"https://c/identity/v3/?x=1#y": "https://c/identity/v3/",
	} {
		if got, err := identityURL(given); err != nil || got != want {
			t.Errorf("%s became %s (%v), want %s", given, got, err, want)
		}
	}
}

func TestLoginSendsWhatKeystoneWants(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Options)
		want   string
	}{
		{"user and project by name, domains by default", func(*Options) {},
			`{"auth":{"identity":{"methods":["password"],"password":{"user":{"domain":{"name":"Default"},"name":"nova","password":"s3cret-Passw0rd"}}},"scope":{"project":{"domain":{"name":"Default"},"name":"service"}}}}`},
		{"domains by name and by id", func(o *Options) { o.UserDomain, o.ProjectDomainID = "ldap", "d1" },
			`{"auth":{"identity":{"methods":["password"],"password":{"user":{"domain":{"name":"ldap"},"name":"nova","password":"s3cret-Passw0rd"}}},"scope":{"project":{"domain":{"id":"d1"},"name":"service"}}}}`},
		{"user and project by id need no domain", func(o *Options) { o.UserID, o.ProjectID = "u1", "p1" },
			`{"auth":{"identity":{"methods":["password"],"password":{"user":{"id":"u1","password":"s3cret-Passw0rd"}}},"scope":{"project":{"id":"p1"}}}}`},
		{"an application credential has no scope beside it", func(o *Options) {
			o.ApplicationCredentialID, o.ApplicationCredentialSecret = "a1", "s1"
		}, `{"auth":{"identity":{"application_credential":{"id":"a1","secret":"s1"},"methods":["application_credential"]}}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cloud := newCloud(t, says(`{"services": []}`))
			client := cloud.client(tt.change)
			if err := client.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			first := cloud.loginBody
			cloud.expire()
			if err := client.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			if cloud.loginCount() != 2 || cloud.loginBody != first {
				t.Errorf("the second login differs: %s", cloud.loginBody)
			}
			if diff := cmp.Diff(normal(t, tt.want), normal(t, first)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func normal(t *testing.T, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

func TestTheHighestVersionThatBothSidesKnowIsUsed(t *testing.T) {
	tests := []struct {
		name, server, option, want, err string
	}{
		{"the server's, where it is older", "2.79", "", "2.79", ""},
		{"2.94, where the server knows the one that leaves instances stopped", "2.96", "", "2.94", ""},
		{"the option's, where it is lower", "2.93", "2.60", "2.60", ""},
		{"never more than 2.94, whatever the option says", "2.96", "2.95", "2.94", ""},
		{"2.9 is older than 2.53", "2.9", "", "", "its highest microversion is 2.9, nova-evac needs at least 2.53"},
		{"the oldest that will do", "2.53", "", "2.53", ""},
		{"a Nova without microversions is refused", "", "", "", "it speaks no microversions"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cloud := newCloud(t, says(`{"services": []}`))
			cloud.max = tt.server
			client := cloud.client(func(o *Options) { o.MaxMicroversion = tt.option })
			for range 2 {
				err := client.Check(t.Context())
				if tt.err != "" {
					if err == nil || !strings.Contains(err.Error(), tt.err) {
						t.Fatalf("error %v, want %s", err, tt.err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if got, _ := client.Microversion(t.Context()); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if got := cloud.sent()[1].version; got != "compute "+tt.want {
				t.Errorf("sent %q", got)
			}
			cloud.mu.Lock()
			defer cloud.mu.Unlock()
			if len(cloud.requests) != 3 {
				t.Errorf("the version was asked for more than once: %v", cloud.requests)
			}
		})
	}
}

func TestAVersionThatIsNoLongerKnownIsNegotiatedAgain(t *testing.T) {
	cloud := newCloud(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("OpenStack-API-Version") == "compute 2.93" {
			fault(w, 406, "computeFault", "Version 2.93 is not supported by the API. Minimum is 2.1 and maximum is 2.90.")
			return
		}
		_, _ = io.WriteString(w, `{"services": []}`)
	})
	client := cloud.client()
	checkKind(t, client.Check(t.Context()), ErrNotSent)
	cloud.mu.Lock()
	cloud.max = "2.90"
	cloud.mu.Unlock()
	if err := client.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTheComputeEndpointMayBeWrittenInEveryWayOfTheField(t *testing.T) {
	tests := []struct{ name, endpoint, document, want string }{
		{"v2.1", "/compute/v2.1", "/compute/v2.1/", "/compute/v2.1/os-services"},
		{"v2.1 with a project's id", "/compute/v2.1/0f3a", "/compute/v2.1/", "/compute/v2.1/0f3a/os-services"},
		{"no version", "/compute", "/compute/", "/compute/v2.1/os-services"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var paths []string
			cloud := newCloud(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/compute/" {
					w.WriteHeader(http.StatusOK)
					_, _ = io.WriteString(w, `{"versions": [{"id": "v2.0", "version": ""}, {"id": "v2.1", "version": "2.90"}]}`)
					return
				}
				_, _ = io.WriteString(w, `{"services": []}`)
			})
			cloud.login = func(w http.ResponseWriter, _ *http.Request) {
				cloud.valid["t"] = true
				w.Header().Set("X-Subject-Token", "t")
				w.WriteHeader(http.StatusCreated)
				fmt.Fprintf(w, `{"token":{"catalog":[{"type":"compute","endpoints":[{"interface":"internal","url":%q}]}]}}`, cloud.server.URL+tt.endpoint)
			}
			if err := cloud.client().Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, r := range cloud.requests {
				paths = append(paths, r.path)
			}
			if diff := cmp.Diff([]string{tt.document, tt.want}, paths); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAnEndpointIsPickedOnlyWhereThereIsNoDoubt(t *testing.T) {
	tests := []struct {
		name    string
		regions []string
		region  string
		kind    string
		err     string
	}{
		{"one region needs no name", []string{"one"}, "", "internal", ""},
		{"a region that is named is taken", []string{"one", "two"}, "two", "internal", ""},
		{"of two regions none is guessed", []string{"two", "one"}, "", "internal", "regions one, two: name one with region_name"},
		{"a region that is not there is refused", []string{"one"}, "three", "internal", "no compute endpoint internal in three, only: public in one, internal in one"},
		{"a type that is not there is refused", []string{"one"}, "", "admin", "no compute endpoint admin, only: public in one"},
		{"an empty catalogue is refused", nil, "", "internal", "no compute endpoint at all"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cloud := newCloud(t, says(`{"services": []}`))
			cloud.regions = tt.regions
			err := cloud.client(func(o *Options) { o.Region, o.EndpointType = tt.region, tt.kind }).Check(t.Context())
			if tt.err == "" && err != nil {
				t.Error(err)
			}
			if tt.err != "" {
				checkKind(t, err, ErrNotSent)
				if !strings.Contains(fmt.Sprint(err), tt.err) {
					t.Errorf("error %v, want %s", err, tt.err)
				}
			}
		})
	}
}

func TestServicesTellsAPartialRecordFromAFullOne(t *testing.T) {
	cloud := newCloud(t, says(`{"services": [
		{"id": "s1", "binary": "nova-compute", "host": "h1", "state": "up", "status": "enabled", "forced_down": false, "disabled_reason": null, "updated_at": "2026-11-20T10:11:12.000000", "zone": "nova"},
		{"id": "s2", "binary": "nova-compute", "host": "h2", "state": "down", "status": "disabled", "forced_down": true, "disabled_reason": "nova-evac gen=1", "updated_at": null},
		{"binary": "nova-compute", "host": "h3", "status": "UNKNOWN"},
		{"id": "s4", "binary": "nova-conductor", "host": "c1", "state": "up", "status": "enabled"}]}`))
	got, err := cloud.client().Services(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []Service{
		{ID: "s1", Host: "h1", Zone: "nova", Up: true, Enabled: true, Updated: time.Date(2026, 11, 20, 10, 11, 12, 0, time.UTC)},
		{ID: "s2", Host: "h2", ForcedDown: true, DisabledReason: "nova-evac gen=1"},
		{Host: "h3", Partial: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if r := cloud.sent()[0]; r.path != "/compute/v2.1/os-services" || r.query != "binary=nova-compute" {
		t.Errorf("asked %s?%s", r, r.query)
	}
}

func TestForceDownTellsAllInOneRequest(t *testing.T) {
	long := strings.Repeat("ü", 300)
	tests := []struct {
		name    string
		disable string
		want    string
	}{
		{"it is disabled too", "nova-evac gen=2", `{"forced_down":true,"status":"disabled","disabled_reason":"nova-evac gen=2"}`},
		{"its status stays", "", `{"forced_down":true}`},
		{"a reason that is too long is cut", long, `{"forced_down":true,"status":"disabled","disabled_reason":"` + long[:510] + `"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cloud := newCloud(t, says(`{"service": {}}`))
			if err := cloud.client().ForceDown(t.Context(), Service{ID: "s"}, tt.disable); err != nil {
				t.Fatal(err)
			}
			sent := cloud.sent()
			if len(sent) != 1 || sent[0].method != "PUT" || sent[0].path != "/compute/v2.1/os-services/s" {
				t.Fatalf("sent %v", sent)
			}
			if diff := cmp.Diff(normal(t, tt.want), normal(t, sent[0].body)); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("a service whose cell is down has no id to send to", func(t *testing.T) {
		cloud := newCloud(t, says(""))
		checkKind(t, cloud.client().ForceDown(t.Context(), Service{Host: "h", Partial: true}, "r"), ErrNotSent)
		if len(cloud.sent()) != 0 {
			t.Error(cloud.sent())
		}
	})
}

func TestAHostIsGivenBackInTwoSteps(t *testing.T) {
	t.Run("first its heartbeat counts again, which Nova may refuse", func(t *testing.T) {
		cloud := newCloud(t, func(w http.ResponseWriter, _ *http.Request) {
			fault(w, 400, "badRequest", "Unable to force up host h as `done` evacuation migration records remain associated with the host.")
		})
		checkKind(t, cloud.client().ForceUp(t.Context(), Service{ID: "s", Host: "h"}), ErrRefused)
		if got := cloud.sent()[0].body; got != `{"forced_down":false}` {
			t.Error(got)
		}
	})
	t.Run("then it is enabled, if we had disabled it", func(t *testing.T) {
		cloud := newCloud(t, says("{}"))
		if err := cloud.client().Enable(t.Context(), Service{ID: "s", DisabledReason: "nova-evac gen=1"}); err != nil {
			t.Fatal(err)
		}
		if got := cloud.sent()[0].body; got != `{"status":"enabled"}` {
			t.Error(got)
		}
	})
	t.Run("and left disabled, if an operator had", func(t *testing.T) {
		cloud := newCloud(t, says("{}"))
		checkKind(t, cloud.client().Enable(t.Context(), Service{ID: "s", DisabledReason: "bad DIMM"}), ErrRefused)
		if len(cloud.sent()) != 0 {
			t.Error(cloud.sent())
		}
	})
}

func TestServersReadsAllPagesAndBelievesOnlyTheMarker(t *testing.T) {
	row := func(id, host, vm, task string) string {
		return fmt.Sprintf(`{"id": %q, "name": "n-%s", "OS-EXT-SRV-ATTR:host": %s, "OS-EXT-STS:vm_state": %q, "OS-EXT-STS:task_state": %s}`, id, id, host, vm, task)
	}
	cloud := newCloud(t, func(w http.ResponseWriter, r *http.Request) {
		var rows []string
		next := ""
		switch r.URL.Query().Get("marker") {
		case "":
			rows, next = []string{row("a", `"h"`, "active", "null"), row("b", `"h"`, "error", `"rebuilding"`)}, "b"
		case "b":
			// c has appeared, and pushed b onto the second page.
			rows, next = []string{row("b", `"h"`, "error", `"rebuilding"`), `{"id": "c", "status": "UNKNOWN", "tenant_id": "p"}`}, "c"
		case "c":
			rows = []string{
				`{"id": "d", "name": "n-d", "OS-EXT-SRV-ATTR:host": null, "OS-EXT-STS:vm_state": "building", "OS-EXT-STS:task_state": null, "fault": {"code": 500, "message": "No valid host was found."}}`,
			}
		}
		link := ""
		if next != "" {
			link = fmt.Sprintf(`, "servers_links": [{"rel": "self", "href": "http://x/y?marker=wrong"}, {"rel": "next", "href": "http://wrong.invalid:1/v2.1/servers/detail?limit=1&host=other&marker=%s"}]`, next)
		}
		fmt.Fprintf(w, `{"servers": [%s]%s}`, strings.Join(rows, ","), link)
	})
	got, err := cloud.client().Servers(t.Context(), "h")
	if err != nil {
		t.Fatal(err)
	}
	want := []Server{
		{ID: "a", Name: "n-a", Host: "h", VMState: "active"},
		{ID: "b", Name: "n-b", Host: "h", VMState: "error", TaskState: "rebuilding"},
		{ID: "c", Partial: true},
		{ID: "d", Name: "n-d", VMState: "building", Fault: "No valid host was found."},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for i, r := range cloud.sent() {
		q, _ := url.ParseQuery(r.query)
		want := url.Values{"host": {"h"}, "all_tenants": {"1"}, "limit": {"1000"}}
		if i > 0 {
			want.Set("marker", []string{"", "b", "c"}[i])
		}
		if diff := cmp.Diff(want, q); diff != "" || r.path != "/compute/v2.1/servers/detail" {
			t.Errorf("page %d: %s%s", i, r, diff)
		}
	}
}

func TestAListWhoseMarkerIsDeletedIsReadAgain(t *testing.T) {
	firstPages := 0
	cloud := newCloud(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("marker") {
		case "":
			if firstPages++; firstPages == 1 {
				_, _ = io.WriteString(w, `{"servers": [{"id": "gone", "OS-EXT-SRV-ATTR:host": "h", "OS-EXT-STS:vm_state": "active"}], "servers_links": [{"rel": "next", "href": "?marker=gone"}]}`)
				return
			}
			_, _ = io.WriteString(w, `{"servers": [{"id": "a", "OS-EXT-SRV-ATTR:host": "h", "OS-EXT-STS:vm_state": "active"}]}`)
		default:
			fault(w, 400, "badRequest", "marker [gone] not found")
		}
	})
	got, err := cloud.client().Servers(t.Context(), "h")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Server{{ID: "a", Host: "h", VMState: "active"}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestPagesWithoutAnEndAreAnError(t *testing.T) {
	t.Run("when the marker is refused for ever", func(t *testing.T) {
		cloud := newCloud(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Has("marker") {
				fault(w, 400, "badRequest", "marker [x] not found")
				return
			}
			_, _ = io.WriteString(w, `{"servers": [], "servers_links": [{"rel": "next", "href": "?marker=x"}]}`)
		})
		_, err := cloud.client().Servers(t.Context(), "h")
		checkKind(t, err, ErrRefused)
	})
	t.Run("when a page points to itself", func(t *testing.T) {
		_, err := newCloud(t, says(`{"servers": [], "servers_links": [{"rel": "next", "href": "?marker=x"}]}`)).client().Servers(t.Context(), "h")
		checkKind(t, err, ErrAnswered)
	})
	t.Run("while a 400 to the first page is an error at once", func(t *testing.T) {
		cloud := newCloud(t, func(w http.ResponseWriter, _ *http.Request) { fault(w, 400, "badRequest", "no") })
		_, err := cloud.client().Servers(t.Context(), "h")
		checkKind(t, err, ErrRefused)
		if len(cloud.sent()) != 1 {
			t.Error(cloud.sent())
		}
	})
}

func TestAnEmptyListIsNotBelievedOfACellThatIsDown(t *testing.T) {
	lists := map[string]func(*Client, string) (int, error){
		"servers": func(c *Client, host string) (int, error) {
			got, err := c.Servers(t.Context(), host)
			return len(got), err
		},
		"evacuation records": func(c *Client, host string) (int, error) {
			got, err := c.Evacuations(t.Context(), host, time.Time{})
			return len(got), err
		},
	}
	for name, list := range lists {
		t.Run(name, func(t *testing.T) {
			broken := false
			client := newCloud(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case !strings.HasSuffix(r.URL.Path, "/os-services"):
					_, _ = io.WriteString(w, `{"servers": [], "migrations": []}`)
				case broken:
					w.WriteHeader(http.StatusBadGateway)
				default:
					_, _ = io.WriteString(w, `{"services": [{"binary": "nova-compute", "host": "down", "status": "UNKNOWN"},
						{"id": "s", "binary": "nova-compute", "host": "up", "state": "up", "status": "enabled"}]}`)
				}
			}).client()
			if n, err := list(client, "up"); n != 0 || err != nil {
				t.Error("a host whose cell is up:", n, err)
			}
			if n, err := list(client, "unknown"); n != 0 || err != nil {
				t.Error("a host of which Nova knows nothing:", n, err)
			}
			_, err := list(client, "down")
			checkKind(t, err, ErrAnswered)
			broken = true
			_, err = list(client, "up")
			checkKind(t, err, ErrUnknownOutcome)
		})
	}
}

func TestServerIsFoundOrGone(t *testing.T) {
	cloud := newCloud(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/gone") {
			fault(w, 404, "itemNotFound", "Instance gone could not be found.")
			return
		}
		_, _ = io.WriteString(w, `{"server": {"id": "a", "name": "web", "OS-EXT-SRV-ATTR:host": "h", "OS-EXT-STS:vm_state": "active", "OS-EXT-STS:task_state": null}}`)
	})
	client := cloud.client()
	got, err := client.Server(t.Context(), "a")
	if diff := cmp.Diff(Server{ID: "a", Name: "web", Host: "h", VMState: "active"}, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	_, err = client.Server(t.Context(), "gone")
	checkKind(t, err, ErrNotFound)
}

func TestAnIDCannotLeadToAnotherAddress(t *testing.T) {
	cloud := newCloud(t, says(""))
	_ = cloud.client().Evacuate(t.Context(), "../os-services/x?y", "")
	if got := cloud.sent()[0].path; got != "/compute/v2.1/servers/../os-services/x?y/action" {
		t.Error(got)
	}
}

func TestEvacuationsAreReadUntilTheyAreTooOld(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 11, 20, 10, minute, 0, 0, time.UTC) }
	row := func(id, minute int, kind, dest string) string {
		return fmt.Sprintf(`{"id": %d, "uuid": "u%d", "instance_uuid": "i%d", "migration_type": %q, "source_compute": "h", "dest_compute": %s, "status": "accepted", "created_at": %q}`,
			id, id, id, kind, dest, at(minute).Format("2006-01-02T15:04:05.000000"))
	}
	pages := map[string][]string{
		"":   {row(5, 50, "evacuation", "null"), row(4, 40, "evacuation", `"d"`)},
		"u4": {row(4, 40, "evacuation", `"d"`), row(3, 30, "live-migration", `"d"`), row(2, 20, "evacuation", `"d"`)},
		"u2": {row(1, 10, "evacuation", `"d"`)},
	}
	next := map[string]string{"": "u4", "u4": "u2"}
	record := func(id, minute int, dest string) Migration {
		return Migration{ID: id, Instance: "i" + strconv.Itoa(id), Source: "h", Dest: dest, Status: "accepted", Created: at(minute)}
	}
	tests := []struct {
		name  string
		max   string
		since time.Time
		want  []Migration
		pages int
	}{
		{"all of them, without a limit", "2.93", time.Time{}, []Migration{record(5, 50, ""), record(4, 40, "d"), record(2, 20, "d"), record(1, 10, "d")}, 3},
		{"one that is exactly as old still counts", "2.93", at(20), []Migration{record(5, 50, ""), record(4, 40, "d"), record(2, 20, "d")}, 3},
		{"a fraction of a second does not count", "2.93", at(50).Add(900 * time.Millisecond), []Migration{record(5, 50, "")}, 1},
		{"no page is asked for behind one that is too old", "2.93", at(45), []Migration{record(5, 50, "")}, 1},
		{"nothing is young enough", "2.93", at(55), nil, 1},
		{"before 2.59 there are no pages", "2.58", time.Time{}, []Migration{record(5, 50, ""), record(4, 40, "d")}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cloud := newCloud(t, func(w http.ResponseWriter, r *http.Request) {
				marker := r.URL.Query().Get("marker")
				link := ""
				if n := next[marker]; n != "" && tt.max != "2.58" {
					link = `, "migrations_links": [{"rel": "next", "href": "http://wrong.invalid/v2.1/os-migrations?marker=` + n + `"}]`
				}
				fmt.Fprintf(w, `{"migrations": [%s]%s}`, strings.Join(pages[marker], ","), link)
			})
			cloud.max = tt.max
			got, err := cloud.client().Evacuations(t.Context(), "h", tt.since)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if sent := cloud.sent(); len(sent) != tt.pages {
				t.Errorf("%d pages asked for, want %d", len(sent), tt.pages)
			}
			q, _ := url.ParseQuery(cloud.sent()[0].query)
			want := url.Values{"host": {"h"}, "migration_type": {"evacuation"}, "limit": {"1000"}}
			if tt.max == "2.58" {
				want.Del("limit")
			}
			if diff := cmp.Diff(want, q); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDestinationsAreTheHostsBehindTheAllocations(t *testing.T) {
	cloud := newCloud(t, func(w http.ResponseWriter, r *http.Request) {
		answers := map[string]string{
			"/placement/allocations/a":              `{"allocations": {"rp-src": {"resources": {"VCPU": 1}}, "rp-gpu": {"resources": {"VGPU": 1}}, "rp-pool": {"resources": {"DISK_GB": 1}}, "rp-gone": {}}}`,
			"/placement/allocations/none":           `{"allocations": {}}`,
			"/compute/v2.1/os-hypervisors/rp-src":   `{"hypervisor": {"id": "rp-src", "service": {"host": "source", "id": "s"}}}`,
			"/compute/v2.1/os-hypervisors/rp-dst":   `{"hypervisor": {"id": "rp-dst", "service": {"host": "dest", "id": "d"}}}`,
			"/placement/resource_providers/rp-gpu":  `{"uuid": "rp-gpu", "root_provider_uuid": "rp-dst"}`,
			"/placement/resource_providers/rp-pool": `{"uuid": "rp-pool", "root_provider_uuid": "rp-pool"}`,
		}
		switch text, ok := answers[r.URL.Path]; {
		case ok:
			_, _ = io.WriteString(w, text)
		case strings.HasPrefix(r.URL.Path, "/placement/"):
			w.WriteHeader(404)
			_, _ = io.WriteString(w, `{"errors": [{"status": 404, "title": "Not Found", "detail": "No resource provider with uuid rp-gone found"}]}`)
		default:
			fault(w, 404, "itemNotFound", "Compute host could not be found.")
		}
	})
	client := cloud.client()
	for range 2 {
		got, err := client.Destinations(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"dest", "source"}, got); diff != "" {
			t.Error(diff)
		}
	}
	asked := 0
	for _, r := range cloud.sent() {
		if strings.HasSuffix(r.path, "rp-src") {
			asked++
		}
		if strings.Contains(r.path, "/os-hypervisors/") && r.version != "compute 2.87" {
			t.Errorf("%s at version %q, which asks the host itself", r, r.version)
		}
		if strings.HasPrefix(r.path, "/placement/") && r.version != "placement 1.14" {
			t.Errorf("%s at version %q", r, r.version)
		}
	}
	if asked != 1 {
		t.Errorf("the host of a provider was asked for %d times, want once", asked)
	}
	got, err := client.Destinations(t.Context(), "none")
	if err != nil || len(got) != 0 {
		t.Error(got, err)
	}
	t.Run("and an error where there is no placement", func(t *testing.T) {
		s := *client.session.Load()
		s.placement = ""
		client.session.Store(&s)
		_, err := client.Destinations(t.Context(), "a")
		checkKind(t, err, ErrNotSent)
	})
}

func TestSkewIsReadFromNovasAnswers(t *testing.T) {
	ahead := time.Duration(0)
	cloud := newCloud(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
		if ahead < 0 {
			fault(w, 500, "computeFault", "also an error has a date")
			return
		}
		_, _ = io.WriteString(w, `{"services": []}`)
	})
	client := cloud.client()
	if client.Skew() != 0 {
		t.Errorf("%v before the first answer", client.Skew())
	}
	for _, ahead = range []time.Duration{time.Hour, -time.Hour} {
		_ = client.Check(t.Context())
		if off := (client.Skew() - ahead).Abs(); off > 2*time.Second {
			t.Errorf("skew %v, want about %v", client.Skew(), ahead)
		}
	}
}

func TestEveryRequestNamesTheProgram(t *testing.T) {
	agent := ""
	cloud := newCloud(t, func(w http.ResponseWriter, r *http.Request) {
		agent = r.UserAgent()
		_, _ = io.WriteString(w, `{"services": []}`)
	})
	if err := cloud.client().Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(agent, "nova-evac/test gophercloud/") {
		t.Error(agent)
	}
}

func TestATimeMayBeWrittenInEveryWayOfNova(t *testing.T) {
	want := time.Date(2026, 11, 20, 10, 11, 12, 0, time.UTC)
	for _, text := range []string{"2026-11-20T10:11:12", "2026-11-20T10:11:12.000000", "2026-11-20T10:11:12Z", "2026-11-20T11:11:12+01:00", "2026-11-20 10:11:12"} {
		var got stamp
		if err := json.Unmarshal([]byte(strconv.Quote(text)), &got); err != nil || !got.Equal(want) {
			t.Errorf("%s is %v (%v)", text, got, err)
		}
	}
	var got stamp
	if err := json.Unmarshal([]byte(`"yesterday"`), &got); err == nil {
		t.Error("yesterday is a time")
	}
	if err := json.Unmarshal([]byte(`7`), &got); err == nil {
		t.Error("7 is a time")
	}
}

func TestAnErrorSaysWhatWasDoneAndWhatCameOfIt(t *testing.T) {
	err := error(&Error{Op: "show instance a", Kind: ErrNotFound, Code: 404, Message: "gone"})
	if err.Error() != "show instance a: HTTP 404: gone" || !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

// What a role hides is an error that names the policy: nothing may be sent on a guess.
func TestARoleThatSeesLessIsNamed(t *testing.T) {
	const shown = `{"id": "a", "OS-EXT-SRV-ATTR:host": "H.x", "OS-EXT-STS:vm_state": "active"}`
	for _, c := range []struct {
		name   string
		answer string
		policy string // in the error; empty: there is none
	}{
		{"all is shown, and the database does not heed the case", `{"servers": [` + shown + `]}`, ""},
		{"the host is hidden", `{"servers": [{"id": "a", "OS-EXT-STS:vm_state": "active"}]}`, "os_compute_api:os-extended-server-attributes"},
		{"the filter is dropped without a word", `{"servers": [` + shown + `, {"id": "b", "OS-EXT-SRV-ATTR:host": "other", "OS-EXT-STS:vm_state": "active"}]}`, "os_compute_api:servers:allow_all_filters"},
		{"a cell that is down shows an id only", `{"servers": [{"id": "a", "status": "UNKNOWN"}]}`, ""},
		{"the source of an evacuation is shown", `{"migrations": [{"id": 1, "instance_uuid": "a", "migration_type": "evacuation", "source_compute": "h.x", "status": "done", "created_at": "2026-11-20T10:00:00"}]}`, ""},
		{"the source of an evacuation is hidden", `{"migrations": [{"id": 1, "instance_uuid": "a", "migration_type": "evacuation", "source_compute": null, "status": "done", "created_at": "2026-11-20T10:00:00"}]}`, "os_compute_api:os-migrations:index:host"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := newCloud(t, says(c.answer)).client()
			var err error
			if strings.Contains(c.answer, "migrations") {
				_, err = client.Evacuations(t.Context(), "h.x", time.Time{})
			} else {
				_, err = client.Servers(t.Context(), "h.x")
			}
			switch {
			case c.policy == "" && err != nil:
				t.Error(err)
			case c.policy != "" && (!errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "its role lacks the policy "+c.policy)):
				t.Errorf("%v", err)
			}
		})
	}
}
