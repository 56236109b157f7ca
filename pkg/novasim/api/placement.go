package api

import "github.com/nova-evac/nova-evac/pkg/novasim"

func (s *Server) placementVersion(r *request) reply {
	return ok(map[string]any{"versions": []any{map[string]any{"id": "v1.0", "max_version": "1.39", "min_version": "1.0", "status": "CURRENT",
		"links": links("self", "")}}})
}

func (s *Server) showAllocations(r *request) reply {
	allocations := map[string]any{}
	for _, service := range s.cloud.Allocations(r.PathValue("id")) {
		allocations[service.Hypervisor] = map[string]any{"generation": 1, "resources": map[string]int{"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1}}
	}
	body := map[string]any{"allocations": allocations}
	if len(allocations) > 0 { // since 1.12
		body["project_id"], body["user_id"] = tenant, "u-tenant"
	}
	return ok(body)
}

func (s *Server) showProvider(r *request) reply {
	id := r.PathValue("id")
	if service, found := s.find(func(s novasim.Service) bool { return s.Hypervisor == id }); found {
		return ok(map[string]any{"uuid": id, "name": service.Host, "generation": 1, "root_provider_uuid": id, "parent_provider_uuid": nil,
			"links": []any{}})
	}
	return reply{code: 404, body: map[string]any{"errors": []any{map[string]any{"status": 404, "title": "Not Found",
		"detail": "No resource provider with uuid " + id + " found"}}}}
}
