package nova

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
)

// Secret is a password or the like. Whatever way it is printed, logged or
// marshalled, it comes out as three stars, or as nothing where it is empty;
// string(s) is the only way to the text itself.
type Secret string

// String gives "***", or "" for an empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "***"
}

// GoString gives what String gives, quoted.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// Format makes every verb of package fmt print String: without it a wrong verb
// (%d) would print the text.
func (s Secret) Format(f fmt.State, verb rune) {
	text := s.String()
	if verb == 'q' || f.Flag('#') {
		text = s.GoString()
	}
	_, _ = f.Write([]byte(text))
}

// MarshalJSON gives what String gives.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// Defaults of Options.
const (
	// DefaultTimeout bounds each HTTP request. nova-api itself waits 60 s for an RPC
	// and 60 s for a cell that is down, and answers then (after 60.0 to 60.5 s, seen on
	// Nova 26.2): with 60 s of our own, those answers would be missed by a hair.
	DefaultTimeout = 75 * time.Second
	// MaxMicroversion is the highest microversion that is ever used: from 2.95 on
	// Nova leaves an evacuated instance stopped.
	MaxMicroversion = "2.94"
	// MinMicroversion is the lowest that works: 2.53 (Pike) gives services a uuid
	// and forces down and disables them in one request.
	MinMicroversion = "2.53"
	// DefaultDomain is the Keystone domain of user and project where none is named,
	// as in fence_compute.
	DefaultDomain = "Default"
)

// Options say which cloud to talk to, as whom, and how patiently. A user logs in
// either with Username (or UserID) and Password, scoped to ProjectName (or
// ProjectID), or with an application credential, which knows its own project.
type Options struct {
	// AuthURL is Keystone's address, with or without /v3.
	AuthURL string `json:"auth_url,omitempty"`
	// Username is looked up in UserDomain; UserID needs no domain.
	Username string `json:"username,omitempty"`
	UserID   string `json:"user_id,omitempty"`
	Password Secret `json:"password,omitempty"`
	// ProjectName is looked up in ProjectDomain; ProjectID needs no domain.
	ProjectName string `json:"project_name,omitempty"`
	ProjectID   string `json:"project_id,omitempty"`
	// UserDomain and ProjectDomain are names; the …ID fields win over them. Where
	// neither is given, it is DefaultDomain.
	UserDomain      string `json:"user_domain,omitempty"`
	UserDomainID    string `json:"user_domain_id,omitempty"`
	ProjectDomain   string `json:"project_domain,omitempty"`
	ProjectDomainID string `json:"project_domain_id,omitempty"`
	// ApplicationCredentialID, where given, takes the place of user and project.
	ApplicationCredentialID     string `json:"application_credential_id,omitempty"`
	ApplicationCredentialSecret Secret `json:"application_credential_secret,omitempty"`

	// Region picks the endpoints of one region. It may stay empty in a cloud that
	// has one region only.
	Region string `json:"region,omitempty"`
	// EndpointType is internal, public or admin, with or without URL behind it;
	// empty is internal.
	EndpointType string `json:"endpoint_type,omitempty"`
	// Insecure turns the check of TLS certificates off.
	Insecure bool `json:"insecure,omitempty"`
	// CACert is a file with the certificates to trust instead of the system's.
	CACert string `json:"cacert,omitempty"`
	// ClientCert and ClientKey are the files of a TLS client certificate.
	ClientCert string `json:"cert,omitempty"`
	ClientKey  string `json:"key,omitempty"`

	// Timeout bounds each HTTP request from the dial to the last byte of the answer;
	// 0 is DefaultTimeout.
	Timeout time.Duration `json:"timeout,omitempty"`
	// MaxMicroversion lowers the package's own MaxMicroversion, never raises it.
	MaxMicroversion string `json:"max_microversion,omitempty"`
	// UserAgent is put before gophercloud's own in every request.
	UserAgent string `json:"user_agent,omitempty"`
	// Dial makes the connections, where it is not net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error) `json:"-"`
	// Log gets a debug line for each request; nil is none.
	Log logrus.FieldLogger `json:"-"`
}

// Endpoint gives the catalogue's word for an endpoint type (internal, public or
// admin): it takes the forms of the field, internalURL and the like, in any case.
// Empty is internal.
func Endpoint(endpointType string) (string, error) {
	word := strings.ToLower(strings.TrimSpace(endpointType))
	switch word = strings.TrimSuffix(word, "url"); word {
	case "":
		return "internal", nil
	case "internal", "public", "admin":
		return word, nil
	}
	return "", fmt.Errorf("endpoint_type %q is none of internalURL, publicURL, adminURL, internal, public, admin", endpointType)
}

// identityURL gives the root of Keystone's v3 API. The version is appended, not
// discovered: discovery would follow links that Keystone builds from its own idea
// of its name, often http behind a TLS proxy. v2.0 is rewritten, old
// configurations still carry it and no Keystone since Queens offers it.
func identityURL(authURL string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(authURL))
	if err != nil {
		return "", fmt.Errorf("auth_url is not a URL")
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return "", fmt.Errorf("auth_url %q must look like https://HOST:5000/v3", u.Redacted())
	}
	path := strings.TrimRight(u.Path, "/")
	path = strings.TrimSuffix(strings.TrimSuffix(path, "/v3"), "/v2.0")
	u.Path, u.RawPath, u.RawQuery, u.Fragment, u.User = path+"/v3/", "", "", "", nil
	return u.String(), nil
}

// microversion is a compute API microversion, comparable part by part.
type microversion struct{ major, minor int }

func parseMicroversion(text string) (microversion, error) {
	major, minor, ok := strings.Cut(text, ".")
	a, errA := strconv.Atoi(major)
	b, errB := strconv.Atoi(minor)
	if !ok || errA != nil || errB != nil {
		return microversion{}, fmt.Errorf("%q is not a microversion like 2.90", text)
	}
	return microversion{a, b}, nil
}

func (v microversion) less(w microversion) bool {
	return v.major < w.major || v.major == w.major && v.minor < w.minor
}

func (v microversion) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }
