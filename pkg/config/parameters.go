package config

import (
	"slices"
	"strings"
)

// names maps every parameter name that we know, with underscores, to the one under
// which this package keeps it. Besides our own they are those of fence_compute,
// NovaEvacuate and clouds.yaml.
var names = map[string]string{
	"auth_url":                      "auth_url",
	"username":                      "username",
	"login":                         "username",
	"user_id":                       "user_id",
	"password":                      "password",
	"passwd":                        "password",
	"password_file":                 "password_file",
	"project_name":                  "project_name",
	"tenant_name":                   "project_name",
	"project_id":                    "project_id",
	"tenant_id":                     "project_id",
	"user_domain":                   "user_domain",
	"user_domain_name":              "user_domain",
	"user_domain_id":                "user_domain_id",
	"project_domain":                "project_domain",
	"project_domain_name":           "project_domain",
	"project_domain_id":             "project_domain_id",
	"application_credential_id":     "application_credential_id",
	"application_credential_secret": "application_credential_secret",
	"region_name":                   "region_name",
	"endpoint_type":                 "endpoint_type",
	"insecure":                      "insecure",
	"cacert":                        "cacert",
	"cert":                          "cert",
	"key":                           "key",
	"cloud":                         "cloud",
	"domain":                        "domain",
	"compute_domain":                "domain",
	"timeout":                       "timeout", "api_timeout": "timeout",
	"max_microversion": "max_microversion",
	"max_in_flight":    "max_in_flight",
	"storm_share":      "storm_share",
	"storm_hosts":      "storm_hosts",
	"manual_return":    "manual_return",
	"power_on":         "power_on",
	"refence":          "refence",
	"leave_error":      "leave_error",
	"reset_states":     "reset_states",
	"records":          "records",
	"verbose":          "verbose",
}

// Parameters takes parameters as the field writes them and gives them under the
// names of this package. `-` and `_` are the same, as the fence agents have it, and
// old names (login, passwd, tenant_name, compute_domain) stand for the new ones;
// where both are given, the new one counts. An empty value is one that was not
// given. What is not ours comes back in unknown, sorted: it is no error, Pacemaker
// and other agents add parameters of their own.
func Parameters(given map[string]string) (known map[string]string, unknown []string) {
	known = map[string]string{}
	for _, old := range []bool{false, true} {
		for given, value := range given {
			name := strings.ReplaceAll(given, "-", "_")
			ours, ok := names[name]
			if old && !ok {
				unknown = append(unknown, given)
			}
			if !ok || old != (name != ours) || known[ours] != "" {
				continue
			}
			if ours != "password" && ours != "application_credential_secret" {
				value = strings.TrimSpace(value)
			}
			if value != "" {
				known[ours] = value
			}
		}
	}
	slices.Sort(unknown)
	return known, unknown
}

// variables are the environment variables that are read, and the parameter that
// each one gives. Of two for one parameter the first counts.
var variables = [][2]string{
	{"OS_AUTH_URL", "auth_url"},
	{"OS_USERNAME", "username"},
	{"OS_USER_ID", "user_id"},
	{"OS_PASSWORD", "password"},
	{"OS_PROJECT_NAME", "project_name"},
	{"OS_TENANT_NAME", "project_name"},
	{"OS_PROJECT_ID", "project_id"},
	{"OS_TENANT_ID", "project_id"},
	{"OS_USER_DOMAIN_NAME", "user_domain"},
	{"OS_USER_DOMAIN_ID", "user_domain_id"},
	{"OS_PROJECT_DOMAIN_NAME", "project_domain"},
	{"OS_PROJECT_DOMAIN_ID", "project_domain_id"},
	{"OS_APPLICATION_CREDENTIAL_ID", "application_credential_id"},
	{"OS_APPLICATION_CREDENTIAL_SECRET", "application_credential_secret"},
	{"OS_REGION_NAME", "region_name"},
	{"OS_INTERFACE", "endpoint_type"},
	{"OS_ENDPOINT_TYPE", "endpoint_type"},
	{"OS_INSECURE", "insecure"},
	{"OS_CACERT", "cacert"},
	{"OS_CERT", "cert"},
	{"OS_KEY", "key"},
	{"OS_CLOUD", "cloud"},
}

// environment reads the OS_* variables.
func environment(env func(string) string) map[string]string {
	found := map[string]string{}
	for _, v := range variables {
		if value := env(v[0]); value != "" && found[v[1]] == "" {
			found[v[1]] = value
		}
	}
	return found
}
