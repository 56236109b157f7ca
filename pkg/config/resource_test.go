package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheClustersResourceGivesItsParameters(t *testing.T) {
	secrets := t.TempDir()
	if err := os.MkdirAll(filepath.Join(secrets, "evac"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(secrets, "evac", "password"), []byte("from the file \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	primitive := func(id, kind, pairs string) string {
		return `<primitive id="` + id + `" class="ocf" provider="openstack" type="` + kind + `">` + pairs + `<operations><op id="m" name="monitor" interval="10s"/></operations></primitive>`
	}
	set := func(pairs string) string {
		return `<instance_attributes id="ia">` + pairs + `</instance_attributes>`
	}
	tests := []struct {
		name, cib string
		want      map[string]string
		err       string
	}{
		{"as cibadmin prints one match", primitive("evac", "nova-evacuate", set(`<nvpair id="a" name="auth_url" value="https://k:5000/v3?a&amp;b"/><nvpair id="b" name="region_name" value="r"/>`)),
			map[string]string{"auth_url": "https://k:5000/v3?a&b", "region_name": "r"}, ""},
		{"inside a clone, with another resource before it", `<clone id="c">` + primitive("vip", "IPaddr2", set(`<nvpair name="ip" value="1"/>`)) + primitive("evac", "nova-evacuate", set(`<nvpair name="cloud" value="prod"/>`)) + `</clone>`,
			map[string]string{"cloud": "prod"}, ""},
		{"a CIB secret is read from its file", primitive("evac", "NovaEvacuate", set(`<nvpair name="username" value="u"/><nvpair name="password" value="lrm://"/>`)),
			map[string]string{"username": "u", "password": "from the file"}, ""},
		{"a CIB secret that cannot be read is an error", primitive("other", "NovaEvacuate", set(`<nvpair name="password" value="lrm://"/>`)),
			nil, "password of the resource other is a CIB secret that cannot be read here (as root, on a node of the cluster, it can)"},
		{"a CIB secret cannot lead elsewhere", primitive("../x", "NovaEvacuate", set(`<nvpair name="password" value="lrm://"/>`)),
			nil, "no name for a CIB secret"},
		{"the first of two sets counts, one under a rule does not", primitive("evac", "nova-evacuate",
			`<instance_attributes><rule score="0"/><nvpair name="cloud" value="ruled"/></instance_attributes>`+set(`<nvpair name="cloud" value="first"/>`)+set(`<nvpair name="cloud" value="second"/>`)),
			map[string]string{"cloud": "first"}, ""},
		{"ours goes before the older one", `<xpath-query>` + primitive("old", "NovaEvacuate", set(`<nvpair name="cloud" value="old"/>`)) + primitive("new", "nova-evacuate", set(`<nvpair name="cloud" value="new"/>`)) + `</xpath-query>`,
			map[string]string{"cloud": "new"}, ""},
		{"of two of ours none is guessed", `<xpath-query>` + primitive("a", "nova-evacuate", "") + primitive("b", "nova-evacuate", "") + `</xpath-query>`,
			nil, "several nova-evacuate resources (a, b): name the cloud yourself"},
		{"no such resource is none", primitive("vip", "IPaddr2", ""), nil, ""},
		{"no answer is none", "", nil, ""},
		{"a resource without parameters has none", primitive("evac", "nova-evacuate", ""), map[string]string{}, ""},
		{"text that is not XML is an error", "Call failed <", nil, "the cluster's answer is not XML"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := FromResource([]byte(tt.cib), secrets)
			if tt.err == "" && err != nil || tt.err != "" && !strings.Contains(fmt.Sprint(err), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
