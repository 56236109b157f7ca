package nova

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Answers of Nova 26.2 at 2.90, the tracebacks cut short.
const (
	actionsAnswer = `{"instanceActions": [
		{"action": "evacuate", "instance_uuid": "17a2ab5a", "request_id": "req-c6aa44b1", "user_id": "563e", "project_id": "49b4", "start_time": "2026-11-24T01:32:37.000000", "message": null, "updated_at": "2026-11-24T01:32:40.000000"},
		{"action": "evacuate", "instance_uuid": "17a2ab5a", "request_id": "req-75cf0d42", "user_id": "563e", "project_id": "49b4", "start_time": "2026-11-24T01:28:38.000000", "message": "Error", "updated_at": "2026-11-24T01:29:38.000000"},
		{"action": "create", "instance_uuid": "17a2ab5a", "request_id": "req-84b2c821", "user_id": "563e", "project_id": "49b4", "start_time": "2026-11-24T01:28:35.000000", "message": null, "updated_at": "2026-11-24T01:28:37.000000"}]}`
	rebuiltAnswer = `{"instanceAction": {"action": "evacuate", "instance_uuid": "17a2ab5a", "request_id": "req-c6aa44b1", "start_time": "2026-11-24T01:32:37.000000", "message": null, "updated_at": "2026-11-24T01:32:40.000000", "events": [
		{"event": "compute_rebuild_instance", "start_time": "2026-11-24T01:32:38.000000", "finish_time": "2026-11-24T01:32:40.000000", "result": "Success", "traceback": null, "host": "compute-3", "hostId": "af36", "details": null},
		{"event": "rebuild_server", "start_time": "2026-11-24T01:32:37.000000", "finish_time": "2026-11-24T01:32:38.000000", "result": "Success", "traceback": null, "host": "controller", "hostId": "765a", "details": null}]}}`
	givenUpAnswer = `{"instanceAction": {"action": "evacuate", "instance_uuid": "17a2ab5a", "request_id": "req-75cf0d42", "start_time": "2026-11-24T01:28:38.000000", "message": "Error", "updated_at": "2026-11-24T01:29:38.000000", "events": [
		{"event": "rebuild_server", "start_time": "2026-11-24T01:28:38.000000", "finish_time": "2026-11-24T01:29:38.000000", "result": "Error", "traceback": "  File \"/usr/lib/python3/dist-packages/nova/conductor/manage", "host": "controller", "hostId": "765a", "details": "MessagingTimeout"}]}}`
	goingOnAnswer = `{"instanceAction": {"action": "evacuate", "instance_uuid": "17a2ab5a", "request_id": "req-c6aa44b1", "start_time": "2026-11-24T01:32:37.000000", "message": null, "updated_at": "2026-11-24T01:32:37.000000", "events": [
		{"event": "rebuild_server", "start_time": "2026-11-24T01:32:37.000000", "finish_time": null, "result": null, "traceback": null, "host": "controller", "hostId": "765a", "details": null}]}}`
)

func TestTheEventsOfAnEvacuationTellItsCourse(t *testing.T) {
	at := func(minute, second int) time.Time { return time.Date(2026, 11, 24, 1, minute, second, 0, time.UTC) }
	for _, c := range []struct {
		name    string
		created time.Time
		events  string
		asked   string
		want    Course
	}{
		{"sent, taken and ended", at(32, 37), rebuiltAnswer, "req-c6aa44b1", Course{Sent: at(32, 38), Taken: at(32, 38), Ended: at(32, 40)}},
		{"failed", at(32, 37), strings.ReplaceAll(rebuiltAnswer, `"2026-11-24T01:32:40.000000", "result": "Success"`, `"2026-11-24T01:32:40.000000", "result": "Error"`), "req-c6aa44b1",
			Course{Sent: at(32, 38), Taken: at(32, 38), Failed: true}},
		{"still with the conductor", at(32, 36), goingOnAnswer, "req-c6aa44b1", Course{}},
		{"given up", at(28, 38), givenUpAnswer, "req-75cf0d42", Course{Err: "MessagingTimeout"}},
		{"given up, below 2.84", at(30, 0), strings.ReplaceAll(givenUpAnswer, `"details": "MessagingTimeout"`, `"x": ""`), "req-75cf0d42", Course{Err: "Nova's conductor gave it up"}},
		{"from before all actions", at(20, 0), "", "", Course{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cloud := newCloud(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/os-instance-actions") {
					_, _ = io.WriteString(w, actionsAnswer)
					return
				}
				_, _ = io.WriteString(w, c.events)
			})
			got, err := cloud.client().Course(t.Context(), "17a2ab5a", c.created)
			if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
				t.Error(err, diff)
			}
			sent := cloud.sent()
			if path := sent[len(sent)-1].path; !strings.HasSuffix(path, "/os-instance-actions/"+c.asked) && c.asked != "" {
				t.Error(path)
			}
		})
	}
}
