package nova

import (
	"fmt"
	"slices"
	"strings"
)

// FindService returns the nova-compute that is meant by host: the one of exactly
// that name, or of that name in the given DNS domain, or the only one whose name
// without its domain is that of host. Clusters and Nova rarely agree on short and
// full names, and no other mistake has cost the field so many failed evacuations.
// The error lists what Nova knows, so that a host map can be put right from it.
func FindService(services []Service, host, domain string) (Service, error) {
	for _, want := range []string{host, host + "." + strings.TrimPrefix(domain, ".")} {
		for _, s := range services {
			if s.Host == want {
				return s, nil
			}
		}
	}
	var found, known []string
	var match Service
	for _, s := range services {
		known = append(known, s.Host)
		if short(s.Host) == short(host) && (s.Host == short(s.Host) || host == short(host)) {
			found, match = append(found, s.Host), s
		}
	}
	if len(found) == 1 {
		return match, nil
	}
	slices.Sort(known)
	slices.Sort(found)
	e := &Error{Op: "find the nova-compute of host " + host, Kind: ErrNotFound}
	switch {
	case len(found) > 1:
		e.Message = fmt.Sprintf("the name fits %s: give the full one in the fence device's pcmk_host_map", strings.Join(found, ", "))
	case len(known) == 0:
		e.Message = "Nova knows no nova-compute at all"
	default:
		e.Message = fmt.Sprintf("Nova knows no such nova-compute, only %s: check the fence device's pcmk_host_map", abridged(known))
	}
	return Service{}, e
}

func short(host string) string {
	name, _, _ := strings.Cut(host, ".")
	return name
}

func abridged(names []string) string {
	const most = 8
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
