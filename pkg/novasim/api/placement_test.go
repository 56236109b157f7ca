package api

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestAllocations(t *testing.T) {
	s := newSim(t, nil)
	id := s.boot("compute-1")
	names := func() string {
		var all []string
		allocations := s.get("/placement/allocations/" + id)["allocations"].(map[string]any)
		for _, h := range s.get("/v2.1/os-hypervisors/detail")["hypervisors"].([]any) {
			h := h.(map[string]any)
			if allocations[h["id"].(string)] != nil {
				all = append(all, h["hypervisor_hostname"].(string))
				provider := s.get("/placement/resource_providers/" + h["id"].(string))
				hypervisor := s.get("/v2.1/os-hypervisors/" + h["id"].(string))["hypervisor"].(map[string]any)
				s.is("provider", fmt.Sprint(provider["name"], provider["root_provider_uuid"]), fmt.Sprint(hypervisor["hypervisor_hostname"], h["id"]))
			}
		}
		return strings.Join(all, " ")
	}
	s.is("at home", names(), "compute-1")
	s.down("compute-1")
	s.accepted(id, "compute-2")
	s.pass(time.Second)
	s.is("while it is rebuilt", names(), "compute-1 compute-2")
	s.is("an unknown provider", fmt.Sprint(s.do("GET", "/placement/resource_providers/x", "").Code), "404")
}
