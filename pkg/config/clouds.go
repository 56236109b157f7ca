package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
	"gopkg.in/yaml.v2"
)

// fromClouds reads one entry of clouds.yaml and gives it as parameters. The types
// are gophercloud's; its clouds.Parse is not used, because it panics on an entry
// without `auth`, mixes OS_REGION_NAME and OS_INTERFACE into every cloud, and hands
// out certificates as a finished tls.Config, which no pipe can carry to a child.
func fromClouds(name string, env func(string) string, dirs []string) (map[string]string, []string, error) {
	path, err := findClouds(env, dirs)
	if err != nil {
		return nil, nil, fmt.Errorf("cloud %s: %w", name, err)
	}
	entries, err := readClouds(path)
	if err != nil {
		return nil, nil, fmt.Errorf("cloud %s: %w", name, err)
	}
	entry, ok := entries[name]
	if !ok {
		return nil, nil, fmt.Errorf("cloud %s: there is no such entry in %s", name, path)
	}
	// Secrets may be kept in a file of their own beside it; its values win.
	secure, err := readClouds(filepath.Join(filepath.Dir(path), "secure.yaml"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("cloud %s: %w", name, err)
	}
	if more, ok := secure[name]; ok {
		// To decode over a filled struct is to merge.
		text, err := yaml.Marshal(more)
		if err == nil {
			err = yaml.Unmarshal(text, &entry)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("cloud %s: secure.yaml does not fit clouds.yaml: %w", name, masked(err))
		}
	}
	return cloudParameters(name, entry)
}

func findClouds(env func(string) string, dirs []string) (string, error) {
	if env != nil {
		if path := env("OS_CLIENT_CONFIG_FILE"); path != "" {
			return path, nil
		}
	}
	if dirs == nil {
		dirs = []string{"/etc/openstack"}
		if env != nil {
			home := env("XDG_CONFIG_HOME")
			if home == "" && env("HOME") != "" {
				home = filepath.Join(env("HOME"), ".config")
			}
			if home != "" {
				dirs = append([]string{filepath.Join(home, "openstack")}, dirs...)
			}
			dirs = append([]string{"."}, dirs...)
		}
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, "clouds.yaml")
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no clouds.yaml in %s", strings.Join(dirs, ", "))
}

func readClouds(path string) (map[string]clouds.Cloud, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file clouds.Clouds
	if err := yaml.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", path, masked(err))
	}
	return file.Clouds, nil
}

var quoted = regexp.MustCompile("`[^`]*`")

// masked takes out of an error of the YAML reader the values that it quotes: one
// may be a password in the wrong place.
func masked(err error) error {
	return errors.New(strings.Join(strings.Fields(quoted.ReplaceAllString(err.Error(), "`***`")), " "))
}

func cloudParameters(name string, entry clouds.Cloud) (parameters map[string]string, warnings []string, err error) {
	auth := clouds.AuthInfo{}
	if entry.AuthInfo != nil {
		auth = *entry.AuthInfo
	}
	switch entry.AuthType {
	case "":
	case clouds.AuthPassword, clouds.AuthV3Password, clouds.AuthV2Password:
		auth.ApplicationCredentialID, auth.ApplicationCredentialSecret = "", ""
	case clouds.AuthV3ApplicationCredential:
		auth.Username, auth.UserID, auth.Password = "", "", ""
	default:
		return nil, nil, fmt.Errorf("cloud %s: auth_type %s is not supported: a token would run out; use password or v3applicationcredential", name, entry.AuthType)
	}
	if entry.Profile != "" || entry.Cloud != "" {
		warnings = append(warnings, fmt.Sprintf("cloud %s: its profile (a public cloud's settings) is not read: write auth_url and the rest into the entry", name))
	}
	p := map[string]string{
		"auth_url":                      auth.AuthURL,
		"username":                      auth.Username,
		"user_id":                       auth.UserID,
		"password":                      auth.Password,
		"project_name":                  auth.ProjectName,
		"project_id":                    auth.ProjectID,
		"user_domain":                   auth.UserDomainName,
		"user_domain_id":                auth.UserDomainID,
		"project_domain":                auth.ProjectDomainName,
		"project_domain_id":             auth.ProjectDomainID,
		"application_credential_id":     auth.ApplicationCredentialID,
		"application_credential_secret": auth.ApplicationCredentialSecret,
		"region_name":                   entry.RegionName,
		"endpoint_type":                 entry.EndpointType,
		"cacert":                        entry.CACertFile,
		"cert":                          entry.ClientCertFile,
		"key":                           entry.ClientKeyFile,
	}
	if p["endpoint_type"] == "" {
		p["endpoint_type"] = entry.Interface
	}
	// domain_name and domain_id stand for both domains; default_domain (an id) fills the
	// one that is still missing.
	for _, of := range []string{"user_domain", "project_domain"} {
		if p[of] == "" && p[of+"_id"] == "" {
			p[of], p[of+"_id"] = auth.DomainName, auth.DomainID
		}
		if p[of] == "" && p[of+"_id"] == "" {
			p[of+"_id"] = auth.DefaultDomain
		}
	}
	if entry.Verify != nil {
		p["insecure"] = "no"
		if !*entry.Verify {
			p["insecure"] = "yes"
		}
	}
	for name, value := range p {
		if value == "" {
			delete(p, name)
		}
	}
	return p, warnings, nil
}
