package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nova-evac/nova-evac/pkg/nova"
	"pgregory.net/rapid"
)

func file(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	// The umask may have changed the mode.
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func env(pairs ...string) func(string) string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return m[name] }
}

func resource(pairs ...string) func() (map[string]string, error) {
	return func() (map[string]string, error) {
		m := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m, nil
	}
}

const prodYAML = `
clouds:
  prod:
    auth:
      auth_url: https://prod:5000/v3
      username: prod-user
      password: prod-password
      project_name: prod-project
      user_domain_name: prod-users
      project_domain_id: prod-projects
    region_name: prod-region
    interface: public
    verify: false
    cacert: /etc/prod.pem
  appcred:
    auth_type: v3applicationcredential
    auth:
      auth_url: https://prod:5000/v3
      username: left-over
      application_credential_id: app-id
  token:
    auth_type: v3token
  domains:
    auth: {auth_url: "https://d:5000", username: u, password: 12345, project_id: pid, domain_name: both}
  default:
    endpoint_type: adminURL
    interface: public
    auth: {auth_url: "https://d:5000", username: u, password: p, project_name: p, user_domain_name: own, default_domain: default}
  profiled:
    profile: somewhere
  bare: {}
`

func TestTheFirstSourceThatHasAValueWins(t *testing.T) {
	cloudsYAML := file(t, "clouds.yaml", prodYAML, 0o600)
	dirs := []string{filepath.Dir(cloudsYAML)}
	defaults, _, err := Load(Sources{})
	if n := defaults.Nova; err != nil || defaults.MaxInFlight != 16 || defaults.StormShare != 50 || defaults.StormHosts != 0 ||
		n.UserDomain != "Default" || n.ProjectDomain != "Default" || n.EndpointType != "internal" || n.Timeout != 75*time.Second || n.Insecure {
		t.Fatalf("nothing at all gives %+v, %v", defaults, err)
	}
	plain := func(change func(*Config)) Config {
		c := defaults
		change(&c)
		return c
	}
	full := func(change func(*Config)) Config {
		c := defaults
		c.Cloud = "prod"
		c.Nova = nova.Options{
			AuthURL: "https://prod:5000/v3", Username: "prod-user", Password: "prod-password", ProjectName: "prod-project",
			UserDomain: "prod-users", ProjectDomainID: "prod-projects", Region: "prod-region", EndpointType: "public",
			Insecure: true, CACert: "/etc/prod.pem", Timeout: 75 * time.Second,
		}
		change(&c)
		return c
	}
	tests := []struct {
		name string
		from Sources
		want Config
	}{
		{"a named cloud gives what its entry has", Sources{Given: map[string]string{"cloud": "prod"}}, full(func(*Config) {})},
		{"an explicit value overrides that of the named cloud",
			Sources{Given: map[string]string{"cloud": "prod", "region-name": "two", "insecure": "no", "endpoint_type": "adminURL"}},
			full(func(c *Config) { c.Nova.Region, c.Nova.Insecure, c.Nova.EndpointType = "two", false, "admin" })},
		{"the environment does not bend a cloud that is named explicitly",
			Sources{Given: map[string]string{"cloud": "prod"}, Env: env("OS_REGION_NAME", "stray", "OS_PASSWORD", "stray", "OS_CLOUD", "other", "OS_INTERFACE", "admin")},
			full(func(*Config) {})},
		{"but with OS_CLOUD the other variables override the entry's",
			Sources{Env: env("OS_CLOUD", "prod", "OS_REGION_NAME", "two", "OS_INTERFACE", "internal")},
			full(func(c *Config) { c.Nova.Region, c.Nova.EndpointType = "two", "internal" })},
		{"OS_CLIENT_CONFIG_FILE says where the entry is, whoever named it",
			Sources{Given: map[string]string{"cloud": "prod"}, Env: env("OS_CLIENT_CONFIG_FILE", cloudsYAML), CloudsDirs: []string{"/nonexistent"}},
			full(func(*Config) {})},
		{"a project's name from above hides its id from below",
			Sources{Given: map[string]string{"cloud": "domains", "tenant_name": "mine", "project_domain": "theirs"}},
			plain(func(c *Config) {
				c.Cloud = "domains"
				c.Nova.AuthURL, c.Nova.Username, c.Nova.Password, c.Nova.ProjectName = "https://d:5000", "u", "12345", "mine"
				c.Nova.UserDomain, c.Nova.ProjectDomain = "both", "theirs"
			})},
		{"default_domain fills in what no name says, and endpoint_type goes before interface",
			Sources{Given: map[string]string{"cloud": "default"}},
			plain(func(c *Config) {
				c.Cloud = "default"
				c.Nova.AuthURL, c.Nova.Username, c.Nova.Password, c.Nova.ProjectName = "https://d:5000", "u", "p", "p"
				c.Nova.UserDomain, c.Nova.ProjectDomain, c.Nova.ProjectDomainID, c.Nova.EndpointType = "own", "", "default", "admin"
			})},
		{"an application credential of the entry drops the user left in it, and takes its secret from above",
			Sources{Given: map[string]string{"cloud": "appcred", "application_credential_secret": "app-secret"}},
			plain(func(c *Config) {
				c.Cloud = "appcred"
				c.Nova.AuthURL, c.Nova.ApplicationCredentialID, c.Nova.ApplicationCredentialSecret = "https://prod:5000/v3", "app-id", "app-secret"
			})},
		{"an explicit user hides the entry's application credential",
			Sources{Given: map[string]string{"cloud": "appcred", "login": "me", "passwd": "mine"}},
			plain(func(c *Config) {
				c.Cloud = "appcred"
				c.Nova.AuthURL, c.Nova.Username, c.Nova.Password = "https://prod:5000/v3", "me", "mine"
			})},
		{"the environment alone is enough",
			Sources{Env: env("OS_AUTH_URL", "https://e", "OS_USERNAME", "u", "OS_PASSWORD", "p", "OS_TENANT_NAME", "old", "OS_PROJECT_NAME", "new",
				"OS_USER_DOMAIN_NAME", "ud", "OS_PROJECT_DOMAIN_NAME", "pd", "OS_REGION_NAME", "r", "OS_ENDPOINT_TYPE", "publicURL", "OS_CACERT", "/ca", "OS_INSECURE", "true")},
			plain(func(c *Config) {
				c.Nova = nova.Options{AuthURL: "https://e", Username: "u", Password: "p", ProjectName: "new", UserDomain: "ud", ProjectDomain: "pd",
					Region: "r", EndpointType: "public", CACert: "/ca", Insecure: true, Timeout: 75 * time.Second}
			})},
		{"an explicit value overrides the environment's",
			Sources{Given: map[string]string{"auth_url": "https://x"}, Env: env("OS_AUTH_URL", "https://e", "OS_USERNAME", "u"), Resource: resource("username", "no")},
			plain(func(c *Config) { c.Nova.AuthURL, c.Nova.Username = "https://x", "u" })},
		{"where nobody says where the cloud is, the cluster's resource does, and stray variables stay out",
			Sources{Given: map[string]string{"region_name": "r"}, Env: env("OS_PASSWORD", "stray"), Resource: resource("auth_url", "https://r", "username", "ru", "password", "rp", "tenant_name", "rt", "evacuate_delay", "5")},
			plain(func(c *Config) {
				c.Nova.AuthURL, c.Nova.Username, c.Nova.Password, c.Nova.ProjectName, c.Nova.Region = "https://r", "ru", "rp", "rt", "r"
			})},
		{"the resource may name a cloud too",
			Sources{Resource: resource("cloud", "prod", "region_name", "rr")}, full(func(c *Config) { c.Nova.Region = "rr" })},
		{"options that are no credentials",
			Sources{Given: map[string]string{"domain": ".example.org", "api_timeout": "90", "max_in_flight": "4", "records": "/tmp/r", "verbose": "on", "max_microversion": "2.79"}},
			plain(func(c *Config) {
				c.Domain, c.Nova.Timeout, c.MaxInFlight, c.Records, c.Verbose, c.Nova.MaxMicroversion = "example.org", 90*time.Second, 4, "/tmp/r", true, "2.79"
			})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.from.CloudsDirs == nil {
				tt.from.CloudsDirs = dirs
			}
			got, warnings, err := Load(tt.from)
			if err != nil || warnings != nil {
				t.Fatal(err, warnings)
			}
			if diff := cmp.Diff(tt.want, got, cmp.Transformer("reveal", func(s Secret) string { return string(s) })); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheResourceIsNotAskedForWithoutNeed(t *testing.T) {
	asked := false
	from := Sources{Env: env("OS_AUTH_URL", "https://e"), Resource: func() (map[string]string, error) { asked = true; return nil, nil }}
	if _, _, err := Load(from); err != nil || asked {
		t.Error(err, asked)
	}
}

func TestSecureYAMLWinsOverCloudsYAML(t *testing.T) {
	dir := filepath.Dir(file(t, "clouds.yaml", prodYAML, 0o644))
	secure := "clouds: {prod: {auth: {password: from-secure}}, bare: {auth: {auth_url: 'https://s'}}}"
	if err := os.WriteFile(filepath.Join(dir, "secure.yaml"), []byte(secure), 0o600); err != nil {
		t.Fatal(err)
	}
	got, _, err := Load(Sources{Given: map[string]string{"cloud": "prod"}, CloudsDirs: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	if got.Nova.Password != "from-secure" || got.Nova.Username != "prod-user" || got.Nova.Region != "prod-region" {
		t.Errorf("got %+v", got.Nova)
	}
	got, _, err = Load(Sources{Given: map[string]string{"cloud": "bare"}, CloudsDirs: []string{dir}})
	if err != nil || got.Nova.AuthURL != "https://s" {
		t.Error(got, err)
	}
}

func TestCloudsYAMLIsLookedForWhereTheOpenstackCommandLooks(t *testing.T) {
	home := t.TempDir()
	dir := filepath.Join(home, ".config", "openstack")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "clouds.yaml"), []byte(prodYAML), 0o600); err != nil {
		t.Fatal(err)
	}
	given := map[string]string{"cloud": "prod"}
	for name, look := range map[string]func(string) string{
		"in the home directory":    env("HOME", home),
		"in the XDG configuration": env("HOME", "/nonexistent", "XDG_CONFIG_HOME", filepath.Join(home, ".config")),
	} {
		if got, _, err := Load(Sources{Given: given, Env: look}); err != nil || got.Nova.Username != "prod-user" {
			t.Errorf("%s: %v %v", name, got, err)
		}
	}
	if _, err := findClouds(nil, nil); err != nil && !strings.HasSuffix(err.Error(), "no clouds.yaml in /etc/openstack") {
		t.Error("an agent looks elsewhere:", err)
	}
}

func TestWhatCannotBeUnderstoodIsNamed(t *testing.T) {
	dir := filepath.Dir(file(t, "clouds.yaml", prodYAML, 0o600))
	broken := file(t, "clouds.yaml", "clouds: {x: {auth: hunter2}}", 0o600)
	tests := []struct {
		name string
		from Sources
		want []string
	}{
		{"a yes or no that is neither", Sources{Given: map[string]string{"insecure": "maybe"}}, []string{`insecure is "maybe": give 1, yes, on, true, or 0, no, off, false`}},
		{"an endpoint type of another kind", Sources{Given: map[string]string{"endpoint-type": "private"}}, []string{`endpoint_type is "private": give one of internalURL, publicURL, adminURL, internal, public, admin`}},
		{"a time that is none", Sources{Given: map[string]string{"api_timeout": "soon"}}, []string{`api_timeout is "soon": give a time above zero in seconds, like 60, or with a unit, like 60s or 2m`}},
		{"a time of zero", Sources{Given: map[string]string{"api-timeout": "0"}}, []string{`api_timeout is "0"`}},
		{"a number that is none", Sources{Given: map[string]string{"max_in_flight": "many"}}, []string{`max_in_flight is "many": give a whole number from 1 up`}},
		{"a number below one", Sources{Given: map[string]string{"max_in_flight": "0"}}, []string{`max_in_flight is "0"`}},
		{"a percentage above all", Sources{Given: map[string]string{"storm-share": "101"}}, []string{`storm_share is "101": give a whole number from 1 to 100`}},
		{"a state that is not reset", Sources{Given: map[string]string{"reset_states": "paused,soft-delete"}}, []string{`reset_states: "soft-delete": give some of paused, rescued, suspended`}},
		{"several at once", Sources{Given: map[string]string{"max_in_flight": "-1", "api_timeout": "-1s"}}, []string{"max_in_flight", "api_timeout"}},
		{"a cloud that has no entry", Sources{Given: map[string]string{"cloud": "none"}, CloudsDirs: []string{dir}}, []string{"cloud none: there is no such entry in " + dir}},
		{"a cloud without a file", Sources{Given: map[string]string{"cloud": "prod"}, CloudsDirs: []string{"/nonexistent"}}, []string{"cloud prod: no clouds.yaml in /nonexistent"}},
		{"a file that OS_CLIENT_CONFIG_FILE names and that is not there", Sources{Env: env("OS_CLOUD", "prod", "OS_CLIENT_CONFIG_FILE", "/nonexistent/c.yaml")}, []string{"cloud prod: open /nonexistent/c.yaml"}},
		{"a file that is no clouds.yaml, without what it holds", Sources{Given: map[string]string{"cloud": "x"}, CloudsDirs: []string{filepath.Dir(broken)}}, []string{"cloud x: " + broken + ": yaml:", "`***`"}},
		{"a kind of login that would run out", Sources{Given: map[string]string{"cloud": "token"}, CloudsDirs: []string{dir}}, []string{"cloud token: auth_type v3token is not supported"}},
		{"a cluster that cannot be asked", Sources{Resource: func() (map[string]string, error) { return nil, errors.New("cibadmin failed") }}, []string{"cibadmin failed"}},
		{"a password file that is not there", Sources{Given: map[string]string{"password_file": "/nonexistent/p"}}, []string{"password_file /nonexistent/p: cannot be read: no such file or directory"}},
		{"a password file that is a directory", Sources{Given: map[string]string{"password_file": dir}}, []string{"password_file " + dir + ": cannot be read"}},
		{"a password file that begins with an empty line", Sources{Given: map[string]string{"password_file": file(t, "p", "\r\nsecret\n", 0o600)}}, []string{"its first line is empty: put the password there"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := Load(tt.from)
			for _, want := range tt.want {
				if !strings.Contains(fmt.Sprint(err), want) {
					t.Errorf("error %v, want %s", err, want)
				}
			}
			if strings.Contains(fmt.Sprint(err), "hunter") {
				t.Errorf("%v shows what the file holds", err)
			}
			if n := strings.Count(fmt.Sprint(err), "\n"); tt.name != "several at once" && n != 0 {
				t.Errorf("%v has more than one line", err)
			}
		})
	}
}

func TestPasswordFileGivesItsFirstLine(t *testing.T) {
	tests := []struct {
		name, text string
		mode       os.FileMode
		given      map[string]string
		want       Secret
		warning    string
	}{
		{"with its spaces and without the line's end", " p w \nmore", 0o600, nil, " p w ", ""},
		{"of a file from Windows", "pw\r\n", 0o640, nil, "pw", ""},
		{"with a warning where everybody can read it", "pw", 0o644, nil, "pw", "can be read by everybody: chmod 600 it"},
		{"but not where a password was given too", "pw", 0o600, map[string]string{"password": "given"}, "given", "is ignored: a password was given too"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			given := map[string]string{"password-file": file(t, "pw", tt.text, tt.mode)}
			for k, v := range tt.given {
				given[k] = v
			}
			got, warnings, err := Load(Sources{Given: given})
			if err != nil || string(got.Nova.Password) != string(tt.want) {
				t.Errorf("got %q, %v", string(got.Nova.Password), err)
			}
			if tt.warning == "" && warnings != nil || tt.warning != "" && (len(warnings) != 1 || !strings.Contains(warnings[0], tt.warning)) {
				t.Errorf("warnings %q, want %q", warnings, tt.warning)
			}
		})
	}
	t.Run("and hides a password from a weaker source", func(t *testing.T) {
		got, warnings, err := Load(Sources{Given: map[string]string{"auth_url": "https://x", "password_file": file(t, "pw", "right", 0o600)}, Env: env("OS_PASSWORD", "wrong")})
		if err != nil || warnings != nil || string(got.Nova.Password) != "right" {
			t.Error(got, warnings, err)
		}
	})
}

func TestNoFencingFailsOnVerbose(t *testing.T) {
	got, warnings, err := Load(Sources{Given: map[string]string{"verbose": "2"}})
	if err != nil || got.Verbose || len(warnings) != 1 || !strings.HasPrefix(warnings[0], `verbose is "2"`) {
		t.Error(got, warnings, err)
	}
}

func TestAProfileIsWarnedOf(t *testing.T) {
	dir := filepath.Dir(file(t, "clouds.yaml", prodYAML, 0o600))
	_, warnings, err := Load(Sources{Given: map[string]string{"cloud": "profiled"}, CloudsDirs: []string{dir}})
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "its profile (a public cloud's settings) is not read") {
		t.Error(warnings, err)
	}
}

func TestValidateNamesEveryProblem(t *testing.T) {
	good := Config{Nova: nova.Options{AuthURL: "https://k:5000", Username: "u", Password: "p", ProjectName: "p"}}
	tests := []struct {
		name   string
		change func(*Config)
		want   []string
	}{
		{"a user with a password and a project will do", func(*Config) {}, nil},
		{"ids will do", func(c *Config) {
			c.Nova.Username, c.Nova.UserID, c.Nova.ProjectName, c.Nova.ProjectID = "", "u", "", "p"
		}, nil},
		{"an application credential will do", func(c *Config) {
			c.Nova = nova.Options{AuthURL: "https://k", ApplicationCredentialID: "i", ApplicationCredentialSecret: "s"}
		}, nil},
		{"an application credential without its secret", func(c *Config) { c.Nova = nova.Options{AuthURL: "https://k", ApplicationCredentialID: "i"} },
			[]string{"application_credential_secret is missing: give it beside application_credential_id"}},
		{"nothing at all", func(c *Config) { c.Nova = nova.Options{} }, []string{
			"auth_url is missing: give Keystone's address (auth_url or OS_AUTH_URL), or name an entry of clouds.yaml (cloud or OS_CLOUD)",
			"username is missing: give the user that may evacuate (username or OS_USERNAME)",
			"password is missing: give a file that holds it (password_file), or the password itself (password or OS_PASSWORD)",
			"tenant_name is missing: give the project in which the user may evacuate (tenant_name, project_name or OS_PROJECT_NAME)"}},
		{"a password file that gave none", func(c *Config) { c.Nova.Password, c.PasswordFile = "", "/p" }, []string{"password_file /p: gave no password, see the error about it"}},
		{"an address that is none", func(c *Config) { c.Nova.AuthURL = "keystone" }, []string{`auth_url "keystone" must look like https://HOST:5000/v3`}},
		{"a certificate that is not there", func(c *Config) { c.Nova.CACert = "/nonexistent" }, []string{"cacert: open /nonexistent: no such file or directory"}},
		{"a certificate without a key", func(c *Config) { c.Nova.ClientCert = "/c" }, []string{"cert and key belong together: give both or neither"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := good
			tt.change(&c)
			var got []string
			if err := c.Validate(); err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAConfigReachesAChildWholeAndNobodyElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c Config
		fill(t, reflect.ValueOf(&c).Elem())
		var pipe bytes.Buffer
		if err := c.Encode(&pipe); err != nil {
			t.Fatal(err)
		}
		if strings.Count(pipe.String(), "\n") != 1 {
			t.Fatalf("not one line: %q", pipe.String())
		}
		got, err := Decode(&pipe)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, c) {
			t.Fatalf("got %#v, want %#v", got, c)
		}
	})
	if _, err := Decode(strings.NewReader("")); err == nil {
		t.Error("nothing was taken for a configuration")
	}
}

// fill gives every field of a struct a value, so that a field that is added later
// and does not survive the pipe is found.
func fill(t *rapid.T, v reflect.Value) {
	for i := range v.NumField() {
		switch field := v.Field(i); field.Kind() {
		case reflect.Struct:
			fill(t, field)
		case reflect.String:
			field.SetString(rapid.StringN(1, 20, -1).Draw(t, v.Type().Field(i).Name))
		case reflect.Bool:
			field.SetBool(true)
		case reflect.Int, reflect.Int64:
			field.SetInt(rapid.Int64Range(1, 1<<40).Draw(t, v.Type().Field(i).Name))
		case reflect.Interface, reflect.Func: // the log and the dialer stay at home
		case reflect.Slice:
			field.Set(reflect.ValueOf([]string{"paused", "rescued"}))
		default:
			t.Fatalf("a field of kind %s: teach this test to fill it", field.Kind())
		}
	}
}

func TestAConfigCanBeLogged(t *testing.T) {
	c := Config{Nova: nova.Options{Username: "u", Password: "hunter2", ApplicationCredentialSecret: "hunter2"}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		if text := fmt.Sprintf(verb, c); strings.Contains(text, "hunter") || !strings.Contains(text, "***") {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}
