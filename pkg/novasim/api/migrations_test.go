package api

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestMigrations(t *testing.T) {
	s := newSim(t, nil)
	var ids []string
	for range 3 {
		ids = append(ids, s.boot("compute-1"))
	}
	s.down("compute-1")
	for _, id := range ids {
		s.accepted(id, "compute-2")
		s.pass(time.Second)
	}
	s.pass(time.Minute)
	s.down("compute-2")
	s.accepted(ids[0], "compute-3")

	order := func(path string) string {
		var all []string
		for _, m := range s.get(path)["migrations"].([]any) {
			all = append(all, fmt.Sprint(m.(map[string]any)["id"]))
		}
		return strings.Join(all, " ")
	}
	for path, want := range map[string]string{
		"":                                    "4 3 2 1", // newest first
		"?host=compute-1":                     "3 2 1",
		"?host=compute-2":                     "4 3 2 1", // source or destination
		"?host=compute-3":                     "4",
		"?source_compute=compute-2":           "4",
		"?status=done":                        "3 2 1",
		"?status=accepted":                    "4",
		"?instance_uuid=" + ids[0]:            "4 1",
		"?migration_type=evacuation":          "4 3 2 1",
		"?migration_type=live-migration":      "",
		"?host=nosuch":                        "",
		"?changes-since=2026-03-01T03:00:00Z": "3 2 1", // hides records that are still accepted
	} {
		s.is(path, order("/v2.1/os-migrations"+path), want)
	}
	for n, want := range []string{"compute-3 <nil> <nil>", "compute-2 compute-2 192.0.2.1"} { // the claim writes the rest
		m := s.get("/v2.1/os-migrations")["migrations"].([]any)[n].(map[string]any)
		s.is("destination", fmt.Sprint(m["dest_compute"], " ", m["dest_node"], " ", m["dest_host"]), want)
	}
	if m := s.get("/v2.1/os-migrations?status=accepted")["migrations"].([]any)[0].(map[string]any); m["updated_at"] != nil {
		t.Errorf("an accepted record was updated at %v", m["updated_at"])
	}
	sizes, _ := follow(s, "/v2.1/os-migrations?host=compute-2&limit=2", "migrations", "uuid")
	s.is("pages", fmt.Sprint(sizes), "[2 2 0]")
	s.is("a bad marker", said(s.do("GET", "/v2.1/os-migrations?marker=nosuch", "")), "400 badRequest: Marker nosuch could not be found.")
	s.is("an unknown key", said(s.do("GET", "/v2.1/os-migrations?dest_compute=x", "")), "400 badRequest: Additional properties are not allowed ('dest_compute' was unexpected)")

	for _, c := range []struct{ version, key, want string }{
		{"2.22", "migration_type", "<nil>"}, {"2.23", "migration_type", "evacuation"}, {"2.58", "uuid", "<nil>"}, {"2.79", "user_id", "<nil>"}, {"2.80", "user_id", "u-admin"},
	} {
		s.version = c.version
		s.is(c.version+" "+c.key, fmt.Sprint(s.get("/v2.1/os-migrations")["migrations"].([]any)[0].(map[string]any)[c.key]), c.want)
	}
	s.version = "2.58"
	s.is("2.58: oldest first, and no 400", order("/v2.1/os-migrations?nosuch=1"), "1 2 3 4")
}
