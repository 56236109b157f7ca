package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParametersKnowsTheFieldsNames(t *testing.T) {
	tests := []struct {
		name    string
		given   map[string]string
		known   map[string]string
		unknown []string
	}{
		{"a dash is an underscore", map[string]string{"auth-url": "a", "region-name": "r", "password-file": "/p"}, map[string]string{"auth_url": "a", "region_name": "r", "password_file": "/p"}, nil},
		{"old names stand for new ones", map[string]string{"login": "u", "passwd": "p", "tenant-name": "t", "compute-domain": "d"}, map[string]string{"username": "u", "password": "p", "project_name": "t", "domain": "d"}, nil},
		{"where both are given the new one counts", map[string]string{"login": "old", "username": "new", "tenant_name": "old", "project-name": "new"}, map[string]string{"username": "new", "project_name": "new"}, nil},
		{"an empty value was not given", map[string]string{"username": "", "login": "u", "cloud": " "}, map[string]string{"username": "u"}, nil},
		{"spaces around a value go, but not those of a password", map[string]string{"auth_url": " a ", "password": " p "}, map[string]string{"auth_url": "a", "password": " p "}, nil},
		{"what is not ours comes back", map[string]string{"crm_feature_set": "3.16", "action": "off", "record-only": "1"}, map[string]string{}, []string{"action", "crm_feature_set", "record-only"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			known, unknown := Parameters(tt.given)
			if diff := cmp.Diff(tt.known, known); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.unknown, unknown); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEveryVariableGivesAParameterThatExists(t *testing.T) {
	for _, v := range variables {
		if names[v[1]] != v[1] {
			t.Errorf("%s gives %s, which is no parameter", v[0], v[1])
		}
	}
	for name, rivals := range rivals {
		for _, rival := range append(rivals, name) {
			if names[rival] != rival {
				t.Errorf("%s is no parameter", rival)
			}
		}
	}
}
