package api

import (
	"fmt"
	"testing"

	"github.com/nova-evac/nova-evac/pkg/novasim"
)

func TestHypervisors(t *testing.T) {
	s := newSim(t, nil)
	s.service("compute-1", `{"status":"disabled","disabled_reason":"why","forced_down":true}`)
	h := s.get("/v2.1/os-hypervisors/detail?hypervisor_hostname_pattern=compute-1")["hypervisors"].([]any)[0].(map[string]any)
	service := h["service"].(map[string]any)
	s.is("one", fmt.Sprint(h["hypervisor_hostname"], h["state"], h["status"], service["host"], service["disabled_reason"]), "compute-1downdisabledcompute-1why")
	if !uuidLike.MatchString(h["id"].(string)) {
		t.Errorf("id %v", h["id"])
	}
	s.is("short list", fmt.Sprint(len(s.get("/v2.1/os-hypervisors")["hypervisors"].([]any))), "4")
	s.is("none", said(s.do("GET", "/v2.1/os-hypervisors/detail?hypervisor_hostname_pattern=x", "")), "404 itemNotFound: No hypervisor matching 'x' could be found.")
}

func TestAHypervisorThatIsDeadAndBelievedUp(t *testing.T) {
	s := newSim(t, nil)
	id := s.cloud.Services()[0].Hypervisor
	ask := func(version string) string {
		s.version = version
		got := said(s.do("GET", "/v2.1/os-hypervisors/"+id, ""))
		return got[:3]
	}
	s.is("alive", ask("2.88"), "200")
	s.host("compute-1", novasim.HostChange{Power: "off"})
	s.is("from 2.88 on its uptime is asked for", ask("2.88"), "500")
	s.is("below it is not", ask("2.87"), "200")
	s.service("compute-1", `{"forced_down":true}`)
	s.is("and not that of a host that is down", ask("2.88"), "200")
}
