package nova

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestFindService(t *testing.T) {
	for _, c := range []struct {
		name, known, host, domain string
		want                      string // the host found, or part of the error
	}{
		{"the very name", "a b c", "b", "", "b"},
		{"a short name in Nova, the full one asked for", "compute-1 compute-2", "compute-1.example.org", "", "compute-1"},
		{"the full name in Nova, the short one asked for", "compute-1.example.org compute-2.example.org", "compute-1", "", "compute-1.example.org"},
		{"two full names in different domains are told apart by the domain", "c1.a.org c1.b.org", "c1", "b.org", "c1.b.org"},
		{"a domain may have a dot before it", "c1.a.org c1.b.org", "c1", ".b.org", "c1.b.org"},
		{"the very name goes before the domain", "c1 c1.a.org", "c1", "a.org", "c1"},
		{"two full names are not guessed between", "c1.a.org c1.b.org", "c1", "", "the name fits c1.a.org, c1.b.org"},
		{"a full name is not taken for another one", "c1.a.org", "c1.b.org", "", "only c1.a.org: check the fence device's pcmk_host_map"},
		{"a name that begins the same is another one", "compute-10", "compute-1", "", "only compute-10"},
		{"an unknown one", "a b", "x", "", "only a, b"},
		{"of many the first are named", "h1 h2 h3 h4 h5 h6 h7 h8 h9", "x", "", "h8 and 1 more"},
		{"there is none at all", "", "x", "", "no nova-compute at all"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var services []Service
			for _, host := range strings.Fields(c.known) {
				services = append(services, Service{Host: host})
			}
			found, err := FindService(services, c.host, c.domain)
			if err == nil && found.Host == c.want {
				return
			}
			if err == nil || !errors.Is(err, ErrNotFound) || !strings.Contains(fmt.Sprint(err), c.want) {
				t.Errorf("found %q, %v", found.Host, err)
			}
		})
	}
}
