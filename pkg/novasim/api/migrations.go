package api

import (
	"net/url"
	"slices"
	"time"

	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/novasim"
)

// migrationQuery are the keys that Nova takes since a microversion, and no others from
// 2.59 on (nova/api/openstack/compute/schemas/migrations.py).
func migrationQuery(version int) []string {
	keys := []string{"hidden", "host", "instance_uuid", "source_compute", "status", "migration_type", "limit", "marker", "changes-since"}
	if version >= 66 {
		keys = append(keys, "changes-before")
	}
	if version >= 80 {
		keys = append(keys, "user_id", "project_id")
	}
	return keys
}

// changesSince checks a query, and gives its changes-since, zero for none. Below 2.59 Nova
// ignores it, and every key that it does not know.
func changesSince(q url.Values, version int) (since time.Time, err error) {
	if version < 59 {
		return since, nil
	}
	if err := unknownKeys(q, migrationQuery(version)); err != nil {
		return since, err
	}
	text := q.Get("changes-since")
	if text == "" {
		return since, nil
	}
	if since, err = time.Parse(time.RFC3339, text); err != nil {
		return since, novasim.Refuse(400, "Invalid input for query parameters changes-since. Value: %s. '%[1]s' is not a 'date-time'", text)
	}
	return since, nil
}

func (s *Server) listMigrations(r *request) reply {
	q := r.URL.Query()
	since, err := changesSince(q, r.version)
	if err != nil {
		return refused(err)
	}
	list := slices.DeleteFunc(s.cloud.Migrations(q.Get("host")), func(m novasim.Migration) bool {
		return !wanted(q, "instance_uuid", m.Instance) || !wanted(q, "status", string(m.Status)) || !wanted(q, "source_compute", m.Source) ||
			!wanted(q, "migration_type", "evacuation") ||
			!since.IsZero() && m.Updated.Before(since) // one that is still accepted was never updated, and is not shown
	})
	answer := map[string]any{}
	if r.version >= 59 {
		slices.Reverse(list) // newest first
		cut, full, err := page(list, func(m novasim.Migration) string { return m.UUID }, q, s.cfg.PageLimit, "Marker %s could not be found.")
		if err != nil {
			return refused(err)
		}
		if full {
			answer["migrations_links"] = nextPage(r, cut[len(cut)-1].UUID)
		}
		list = cut
	}
	bodies := []any{}
	for _, m := range list {
		bodies = append(bodies, migrationBody(r, m))
	}
	answer["migrations"] = bodies
	return ok(answer)
}

func migrationBody(r *request, m novasim.Migration) map[string]any {
	body := map[string]any{"id": m.ID, "instance_uuid": m.Instance, "source_compute": m.Source, "source_node": m.Source,
		"dest_compute": nullable(m.Dest), "dest_node": nil, "dest_host": nil, "status": m.Status,
		"created_at": dbTime(m.Created), "updated_at": dbTime(m.Updated), "old_instance_type_id": 1, "new_instance_type_id": 1}
	if m.Status != nova.StatusAccepted && m.Dest != "" { // the claim writes them
		body["dest_node"], body["dest_host"] = m.Dest, "192.0.2.1"
	}
	if r.version >= 23 {
		body["migration_type"] = "evacuation"
	}
	if r.version >= 59 {
		body["uuid"] = m.UUID
	}
	if r.version >= 80 {
		body["user_id"], body["project_id"] = "u-admin", adminProject
	}
	return body
}
