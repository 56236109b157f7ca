package nova

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Whatever answers at Nova's address, the client gives a result or an *Error of one
// line without a secret, and comes to an end.
func FuzzAnswers(f *testing.F) {
	for _, body := range []string{
		`{"services":[{"id":"8d1c1b2e-4c1a-4a0f-8f0a-2d5f3f0e7a11","host":"h","binary":"nova-compute","state":"up","status":"enabled","forced_down":false,"updated_at":"2026-03-01T03:00:00.000000"}]}`,
		`{"servers":[{"id":"a","name":"n","OS-EXT-STS:vm_state":"active","OS-EXT-STS:task_state":null,"OS-EXT-STS:power_state":1,"fault":{"message":"m"}}]}`,
		`{"servers":[{"id":"a","OS-EXT-STS:vm_state":"active"}],"servers_links":[{"rel":"next","href":"http://x/servers/detail?marker=a"}]}`,
		`{"migrations":[{"id":1,"instance_uuid":"a","migration_type":"evacuation","source_compute":"h","dest_compute":null,"status":"accepted","created_at":"2026-03-01T03:00:00","updated_at":null}],` +
			`"migrations_links":[{"rel":"next","href":"?marker=1"}]}`,
		`{"allocations":{"p":{}}}`, `{"badRequest":{"code":400,"message":"Compute service of h is still in use."}}`,
		`{"error":{"message":"` + thePassword + `"}}`, `<html>502 Bad Gateway</html>`, `null`, `[]`, `{"servers":{}}`, `{"servers":[null]}`, "", "\x00\xff",
	} {
		f.Add(200, body)
		f.Add(400, body)
		f.Add(503, body)
	}
	f.Fuzz(func(t *testing.T, code int, body string) {
		if code < 200 || code > 599 {
			t.Skip("no status of HTTP")
		}
		cloud := newCloud(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		})
		client := cloud.client()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for name, call := range map[string]func() error{
			"services":     func() error { _, err := client.Services(ctx); return err },
			"servers":      func() error { _, err := client.Servers(ctx, "h"); return err },
			"rebuilding":   func() error { _, err := client.Rebuilding(ctx, "h"); return err },
			"migrations":   func() error { _, err := client.Evacuations(ctx, "h", time.Time{}); return err },
			"destinations": func() error { _, err := client.Destinations(ctx, "a"); return err },
			"evacuate":     func() error { return client.Evacuate(ctx, "a", "") },
		} {
			err := call()
			var known *Error
			switch {
			case ctx.Err() != nil:
				t.Fatalf("%s: no end", name)
			case err == nil:
			case !errors.As(err, &known):
				t.Errorf("%s: %T: %v", name, err, err)
			case strings.Contains(err.Error(), thePassword), strings.ContainsAny(err.Error(), "\n\r"):
				t.Errorf("%s: %q", name, err)
			}
		}
	})
}
