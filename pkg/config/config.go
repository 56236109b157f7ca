// Package config gathers credentials and options, for the agents, the supervisor and the
// shell alike.
//
// A value comes from the first of these sources that has it:
//
//  1. Explicit values: flags of the shell, parameters of the OCF agent, lines on the
//     fence agent's standard input.
//  2. The OS_* variables of the environment, in the shell only, and only where no cloud
//     was named explicitly: stray variables do not change a cloud named with `cloud`.
//  3. The parameters of the cluster's own nova-evacuate resource, where neither 1
//     nor 2 says where the cloud is (no auth_url, no cloud). Then 2 is left out
//     altogether, so that a stray OS_PASSWORD does not mix with them.
//  4. The entry of clouds.yaml, with secure.yaml on top of it, that 1, 2 or 3 names.
//  5. The defaults of the table in parameters.go.
//
// So an explicit single value overrides that of the named cloud (--cloud prod
// --region-name two), and with OS_CLOUD the other OS_* variables override the
// entry's, as they do for the openstack command.
//
// Values that mean the same thing exclude one another across sources: a
// project_name from above hides a project_id from below, a user and password hide
// an application credential. Within one source the id wins over the name, and the
// application credential over the user.
package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/nova-evac/nova-evac/pkg/nova"
)

// Secret is a password or the like; printed, logged or marshalled it is "***".
type Secret = nova.Secret

// Config is the configuration of a command or an agent. It can be logged: its secrets print
// as "***". It goes to a child process through a pipe with Encode and Decode, never in argv
// or in the environment, where others can read it.
type Config struct {
	// Nova holds the cloud's address, the credentials, and how to connect.
	Nova nova.Options `json:"nova"`
	// Cloud is the name of the clouds.yaml entry that was used, empty for none.
	Cloud string `json:"cloud,omitempty"`
	// PasswordFile is the file whose first line became Nova.Password, empty for none.
	PasswordFile string `json:"password_file,omitempty"`
	// Domain is the DNS domain of the compute hosts' names in Nova, as `domain` of
	// the field's agents: it is appended to a plug without one.
	Domain string `json:"domain,omitempty"`
	// MaxInFlight is how many evacuations may run at a time.
	MaxInFlight int `json:"max_in_flight,omitempty"`
	// StormShare is how many of the compute hosts, in percent, may be down for a new
	// evacuation to begin; StormHosts is a number of hosts, 0 for no bound.
	StormShare int `json:"storm_share,omitempty"`
	StormHosts int `json:"storm_hosts,omitempty"`
	// ManualReturn leaves it to an operator to let in a host that is ready.
	ManualReturn bool `json:"manual_return,omitempty"`
	// PowerOn is when a fenced host is powered on: PowerOnEvacuated or PowerOnNever.
	PowerOn string `json:"power_on,omitempty"`
	// Refence fences a host again, once, that is on before its instances have left.
	Refence bool `json:"refence,omitempty"`
	// LeaveError leaves instances that were in error when their host died.
	LeaveError bool `json:"leave_error,omitempty"`
	// ResetStates are the states whose instances are reset to error to be evacuated.
	ResetStates []string `json:"reset_states,omitempty"`
	// Records is the path of a records file; empty is the cluster's CIB.
	Records string `json:"records,omitempty"`
	// Verbose asks for debug lines in the log.
	Verbose bool `json:"verbose,omitempty"`
}

// When a fenced host is powered on.
const (
	// PowerOnEvacuated: when its instances have left it.
	PowerOnEvacuated = "evacuated"
	// PowerOnNever: an operator does it.
	PowerOnNever = "never"
)

// Sources is where Load looks, besides clouds.yaml.
type Sources struct {
	// Given are explicit parameters under any name that Parameters knows.
	Given map[string]string
	// Env looks up an environment variable (os.Getenv); nil is no environment, and
	// then clouds.yaml is looked for in /etc/openstack only.
	Env func(name string) string
	// Resource gives the parameters of the cluster's own nova-evacuate resource, see
	// FromResource. It is called only if they are needed; nil is no cluster.
	Resource func() (map[string]string, error)
	// CloudsDirs are the directories to look for clouds.yaml in, instead of the usual
	// ones.
	CloudsDirs []string
}

// Load puts the configuration together in the order of the package comment. The warnings
// are lines for the log. The error joins one line for each value that cannot be understood
// or read. The Config holds all other values, so that a caller can join Validate's error to
// it.
func Load(from Sources) (cfg Config, warnings []string, err error) {
	given := Parameters(from.Given)
	layers := []map[string]string{given}
	env := map[string]string{}
	if from.Env != nil {
		env = environment(from.Env)
	}
	switch {
	case given["cloud"] != "":
		// The named cloud alone, see the package comment.
	case given["auth_url"] != "" || env["auth_url"] != "" || env["cloud"] != "" || from.Resource == nil:
		layers = append(layers, env)
	default:
		resource, resourceErr := from.Resource()
		if resourceErr != nil {
			err = errors.Join(err, resourceErr)
		}
		layers = append(layers, Parameters(resource))
	}
	if cloud := merge(layers)["cloud"]; cloud != "" {
		entry, warned, cloudErr := fromClouds(cloud, from.Env, from.CloudsDirs)
		err = errors.Join(err, cloudErr)
		warnings = append(warnings, warned...)
		layers = append(layers, entry)
	}
	values := merge(append(layers, defaults()))
	for _, p := range parameters {
		if p.into == nil {
			continue
		}
		bad := p.fill(&cfg, values[p.Name])
		if bad == nil {
			continue
		}
		_ = p.fill(&cfg, p.Default) // a test reads every default
		if p.Name == "verbose" {    // no fencing must ever fail on it
			warnings = append(warnings, bad.Error()+"; taken as no")
			continue
		}
		err = errors.Join(err, bad)
	}
	cfg.Domain = strings.Trim(cfg.Domain, ".")
	cfg.Nova.EndpointType, _ = nova.Endpoint(cfg.Nova.EndpointType) // one of the parameter's values
	if cfg.PasswordFile != "" {
		switch password, warning, fileErr := readPassword(cfg.PasswordFile); {
		case cfg.Nova.Password != "":
			warnings = append(warnings, "password_file "+cfg.PasswordFile+" is ignored: a password was given too")
			cfg.PasswordFile = ""
		case fileErr != nil:
			err = errors.Join(err, fileErr)
		default:
			cfg.Nova.Password = password
			if warning != "" {
				warnings = append(warnings, warning)
			}
		}
	}
	return cfg, warnings, err
}

// rivals are, for a parameter, the others that say the same thing in another way.
var rivals = map[string][]string{
	"username":                      {"user_id", "application_credential_id"},
	"user_id":                       {"username", "application_credential_id"},
	"password":                      {"password_file", "application_credential_id"},
	"password_file":                 {"password", "application_credential_id"},
	"application_credential_id":     {"username", "user_id", "password", "password_file"},
	"application_credential_secret": {"username", "user_id", "password", "password_file"},
	"project_name":                  {"project_id"},
	"project_id":                    {"project_name"},
	"user_domain":                   {"user_domain_id"},
	"user_domain_id":                {"user_domain"},
	"project_domain":                {"project_domain_id"},
	"project_domain_id":             {"project_domain"},
}

// merge lays sources over one another, the strongest first.
func merge(layers []map[string]string) map[string]string {
	merged := map[string]string{}
	for _, layer := range layers {
		add := map[string]string{}
		for name, value := range layer {
			hidden := merged[name] != ""
			for _, rival := range rivals[name] {
				hidden = hidden || merged[rival] != ""
			}
			if !hidden {
				add[name] = value
			}
		}
		for name, value := range add {
			merged[name] = value
		}
	}
	return merged
}

// Validate checks whether Nova could be asked with this configuration. It touches files
// (certificates) but not the network. The error joins one line for each problem: the
// parameter, the mistake, the remedy.
func (c Config) Validate() error {
	var problems []error
	missing := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	n := c.Nova
	if n.AuthURL == "" {
		missing("auth_url is missing: give Keystone's address (auth_url or OS_AUTH_URL), or name an entry of clouds.yaml (cloud or OS_CLOUD)")
	}
	if n.ApplicationCredentialID != "" {
		if n.ApplicationCredentialSecret == "" {
			missing("application_credential_secret is missing: give it beside application_credential_id")
		}
	} else {
		if n.Username == "" && n.UserID == "" {
			missing("username is missing: give the user that may evacuate (username or OS_USERNAME)")
		}
		if n.Password == "" && c.PasswordFile == "" {
			missing("password is missing: give a file that holds it (password_file), or the password itself (password or OS_PASSWORD)")
		} else if n.Password == "" {
			missing("password_file %s: gave no password, see the error about it", c.PasswordFile)
		}
		if n.ProjectName == "" && n.ProjectID == "" {
			missing("tenant_name is missing: give the project in which the user may evacuate (tenant_name, project_name or OS_PROJECT_NAME)")
		}
	}
	if n.ClientCert != "" && n.ClientKey == "" || n.ClientCert == "" && n.ClientKey != "" {
		missing("cert and key belong together: give both or neither")
	} else if n.AuthURL != "" {
		if _, err := nova.Connect(n); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// readPassword takes a password from the first line of a file. It warns of a file that
// everybody can read.
func readPassword(path string) (password Secret, warning string, err error) {
	f, err := os.Open(path)
	if err != nil {
		var reason *os.PathError
		if errors.As(err, &reason) {
			err = reason.Err
		}
		return "", "", fmt.Errorf("password_file %s: cannot be read: %w", path, err)
	}
	defer f.Close()
	// No password is longer; a wrong path (a device, a log) must not be swallowed
	// whole.
	content, err := io.ReadAll(io.LimitReader(f, 1<<16))
	if err != nil {
		return "", "", fmt.Errorf("password_file %s: cannot be read: %w", path, err)
	}
	line, _, _ := strings.Cut(string(content), "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" {
		return "", "", fmt.Errorf("password_file %s: its first line is empty: put the password there", path)
	}
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o004 != 0 {
		warning = fmt.Sprintf("password_file %s can be read by everybody: chmod 600 it", path)
	}
	return Secret(line), warning, nil
}

// onTheWire is a Config with its secrets beside it, which it masks itself.
type onTheWire struct {
	Config                      Config `json:"config"`
	Password                    string `json:"password,omitempty"`
	ApplicationCredentialSecret string `json:"application_credential_secret,omitempty"`
}

// Encode writes the whole configuration as one line of JSON, with the real secrets. Use it
// only on a pipe to a child process.
func (c Config) Encode(w io.Writer) error {
	err := json.NewEncoder(w).Encode(onTheWire{
		Config:                      c,
		Password:                    string(c.Nova.Password),
		ApplicationCredentialSecret: string(c.Nova.ApplicationCredentialSecret),
	})
	if err != nil {
		return fmt.Errorf("hand over the configuration: %w", err)
	}
	return nil
}

// Decode reads a Config that Encode wrote.
func Decode(r io.Reader) (Config, error) {
	var wire onTheWire
	if err := json.NewDecoder(r).Decode(&wire); err != nil {
		return Config{}, fmt.Errorf("take over the configuration: %w", err)
	}
	c := wire.Config
	c.Nova.Password = Secret(wire.Password)
	c.Nova.ApplicationCredentialSecret = Secret(wire.ApplicationCredentialSecret)
	return c, nil
}
