package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nova-evac/nova-evac/pkg/novasim"
)

// adminProject and tenant are the projects of the administrator and of the instances: a
// list without all_tenants is empty.
const (
	adminProject = "5f6d1b2e4c1a4a0f8f0a2d5f3f0e7a11"
	tenant       = "9a1c3de0b7f24b63a2f6c1d84e5b7a22"
)

// nova wraps a handler of Nova's: token, microversion, policy, headers.
func (s *Server) nova(handle func(*request) reply) func(*request) reply {
	return s.withToken(func(r *request) (answer reply) {
		headers := map[string]string{"X-Openstack-Request-Id": r.id, "X-Compute-Request-Id": r.id}
		defer func() { answer.headers = headers }()
		version, err := s.microversion(r.Header)
		if err != nil {
			return refused(err)
		}
		r.version = version
		text := fmt.Sprintf("2.%d", version)
		headers["OpenStack-API-Version"], headers["X-OpenStack-Nova-API-Version"] = "compute "+text, text
		headers["Vary"] = "OpenStack-API-Version, X-OpenStack-Nova-API-Version"
		if !r.admin {
			return refuse(403, "Policy doesn't allow %s to be performed.", rule(r))
		}
		if s.cloud.DatabaseIsAway() {
			return refuse(500, "Unexpected API Error. Please report this at http://bugs.launchpad.net/nova/ and attach the Nova API log if possible.\n<class 'TypeError'>")
		}
		return handle(r)
	})
}

// rule names the policy that refuses a request of a user that is no administrator.
func rule(r *request) string {
	switch {
	case isEvacuation(r.body):
		return "os_compute_api:os-evacuate"
	case strings.Contains(r.URL.Path, "/os-services"):
		return "os_compute_api:os-services"
	case strings.Contains(r.URL.Path, "/os-migrations"):
		return "os_compute_api:os-migrations:index"
	case strings.Contains(r.URL.Path, "/os-hypervisors"):
		return "os_compute_api:os-hypervisors:list"
	}
	return "os_compute_api:servers:detail:get_all_tenants"
}

var versionForm = regexp.MustCompile(`^([1-9]\d*)\.([1-9]\d*|0)$`)

// microversion is the version that a request asks for, 2.1 where it asks for none.
func (s *Server) microversion(h http.Header) (int, error) {
	highest := minor(s.cfg.MaxMicroversion)
	asked := "2.1"
	if v := h.Get("X-OpenStack-Nova-API-Version"); v != "" {
		asked = v
	}
	for _, v := range strings.Split(h.Get("OpenStack-API-Version"), ",") {
		if v, found := strings.CutPrefix(strings.TrimSpace(v), "compute "); found {
			asked = strings.TrimSpace(v)
		}
	}
	if asked == "latest" {
		return highest, nil
	}
	if !versionForm.MatchString(asked) {
		return 0, novasim.Refuse(400, "API Version String %s is of invalid format. Must be of format MajorNum.MinorNum.", asked)
	}
	if n := minor(asked); strings.HasPrefix(asked, "2.") && n >= 1 && n <= highest {
		return n, nil
	}
	return 0, novasim.Refuse(406, "Version %s is not supported by the API. Minimum is 2.1 and maximum is %s.", asked, s.cfg.MaxMicroversion)
}

func minor(version string) int {
	_, m, _ := strings.Cut(version, ".")
	n, _ := strconv.Atoi(m) // the form was checked
	return n
}

func (s *Server) novaVersion(r *request) reply {
	return ok(map[string]any{"version": map[string]any{"id": "v2.1", "status": "CURRENT", "version": s.cfg.MaxMicroversion,
		"min_version": "2.1", "updated": "2013-07-23T11:33:21Z", "links": links("self", r.base+"/v2.1/"),
		"media-types": []any{map[string]string{"base": "application/json", "type": "application/vnd.openstack.compute+json;version=2.1"}}}})
}

// dbTime is how Nova writes a moment of its database, which knows no fractions of
// seconds; nil for none.
func dbTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Truncate(time.Second).Format("2006-01-02T15:04:05.000000")
}

func isoTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// wanted reports whether a filter of a query lets a value through.
func wanted(q url.Values, key, value string) bool { return q.Get(key) == "" || q.Get(key) == value }

// strict decodes a body whose schema has additionalProperties false.
func strict(body []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil {
		return nil
	}
	if field, found := strings.CutPrefix(err.Error(), "json: unknown field "); found {
		return novasim.Refuse(400, "Additional properties are not allowed ('%s' was unexpected)", strings.Trim(field, `"`))
	}
	return novasim.Refuse(400, "Malformed request body")
}

// unknownKeys refuses keys that a schema with additionalProperties false does not list.
func unknownKeys(q url.Values, known []string) error {
	for _, key := range sortedKeys(q) {
		if !slices.Contains(known, key) {
			return novasim.Refuse(400, "Additional properties are not allowed ('%s' was unexpected)", key)
		}
	}
	return nil
}

// page cuts a list after the query's marker, at its limit and at most at max_limit. full tells
// that the page is full: then Nova gives a link to the next one, even if that is empty
// (nova/api/openstack/common.py, _get_collection_links).
func page[T any](list []T, id func(T) string, q url.Values, maxLimit int, notFound string) (cut []T, full bool, err error) {
	if marker := q.Get("marker"); marker != "" {
		at := slices.IndexFunc(list, func(t T) bool { return id(t) == marker })
		if at < 0 {
			return nil, false, novasim.Refuse(400, notFound, marker)
		}
		list = list[at+1:]
	}
	limit := maxLimit
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return nil, false, novasim.Refuse(400, "Invalid input for query parameters limit. Value: %s. '%[1]s' does not match '^[0-9]*$'", text)
		}
		if n > 0 { // 0 is no limit of one's own
			limit = min(limit, n)
		}
	}
	list = list[:min(limit, len(list))]
	return list, len(list) == limit, nil
}

func nextPage(r *request, marker string) []any {
	q := r.URL.Query()
	q.Set("marker", marker)
	return links("next", r.base+r.URL.Path+"?"+q.Encode())
}
