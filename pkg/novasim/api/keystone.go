package api

import (
	"crypto/subtle"
	"net/http"
	"slices"
	"time"

	"github.com/nova-evac/nova-evac/pkg/novasim"
)

type token struct {
	expires time.Time
	admin   bool
}

// Member is the user that is no administrator.
const Member = "demo"

func (s *Server) root(r *request) reply {
	return reply{code: http.StatusMultipleChoices, body: map[string]any{"versions": map[string]any{"values": []any{identity(r)}}}}
}

func (s *Server) keystoneVersion(r *request) reply { return ok(map[string]any{"version": identity(r)}) }

func identity(r *request) map[string]any {
	return map[string]any{"id": "v3.14", "status": "stable", "updated": "2020-04-07T00:00:00Z", "links": links("self", r.base+"/v3/"),
		"media-types": []any{map[string]string{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}}}
}

func links(rel, href string) []any { return []any{map[string]string{"rel": rel, "href": href}} }

// named is a thing's id or name in a request to Keystone.
type named struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Domain *named `json:"domain"`
}

// is reports whether it is the thing of this id or name, in the default domain where a
// domain is given.
func (n named) is(id, name string) bool {
	return (n.ID == id || n.ID == "" && n.Name == name) && (n.Domain == nil || n.Domain.is("default", "Default"))
}

type authRequest struct {
	Auth struct {
		Identity struct {
			Methods  []string `json:"methods"`
			Password struct {
				User struct {
					named
					Password string `json:"password"`
				} `json:"user"`
			} `json:"password"`
			ApplicationCredential struct {
				ID     string `json:"id"`
				Secret string `json:"secret"`
			} `json:"application_credential"`
		} `json:"identity"`
		Scope *struct {
			Project *named `json:"project"`
		} `json:"scope"`
	} `json:"auth"`
}

// authenticate is POST /v3/auth/tokens.
func (s *Server) authenticate(r *request) reply {
	var body authRequest
	if err := r.decode(&body); err != nil {
		return reply{code: 400, body: map[string]any{"error": map[string]any{"code": 400, "title": "Bad Request", "message": err.Error()}}}
	}
	known, admin, scoped := s.identify(body)
	if scope := body.Auth.Scope; known && scope != nil && scope.Project != nil {
		known, scoped = scope.Project.is(adminProject, s.cfg.Project), true
	}
	if !known {
		return unauthorized(r.base)
	}
	t := token{expires: r.now.Add(s.cfg.TokenLifetime), admin: admin && scoped}
	id := "gAAAAA" + novasim.UUID(s.noise)
	s.tokens[id] = t
	domain := map[string]string{"id": "default", "name": "Default"}
	user, userID, role := s.cfg.User, "u-admin", "admin"
	if !admin {
		user, userID, role = Member, "u-member", "member"
	}
	answer := map[string]any{"methods": body.Auth.Identity.Methods, "issued_at": keystoneTime(r.now), "expires_at": keystoneTime(t.expires),
		"audit_ids": []string{r.id}, "user": map[string]any{"id": userID, "name": user, "domain": domain, "password_expires_at": nil}}
	if scoped {
		answer["project"] = map[string]any{"id": adminProject, "name": s.cfg.Project, "domain": domain}
		answer["roles"] = []any{map[string]string{"id": "r-" + role, "name": role}}
		answer["is_domain"] = false
		answer["catalog"] = catalog(r.base)
	}
	return reply{code: http.StatusCreated, headers: map[string]string{"X-Subject-Token": id}, body: map[string]any{"token": answer}}
}

// identify finds out who asks for a token: whether it is a user, whether an administrator,
// and whether the credentials have a project by themselves.
func (s *Server) identify(body authRequest) (known, admin, scoped bool) {
	secret := func(given string) bool { return subtle.ConstantTimeCompare([]byte(given), []byte(s.cfg.Password)) == 1 }
	who := body.Auth.Identity
	switch {
	case slices.Contains(who.Methods, "application_credential"):
		return who.ApplicationCredential.ID == s.cfg.ApplicationCredential && secret(who.ApplicationCredential.Secret), true, true
	case slices.Contains(who.Methods, "password"):
		user := who.Password.User
		admin = user.is("u-admin", s.cfg.User)
		return (admin || user.is("u-member", Member)) && secret(user.Password), admin, false
	}
	return false, false, false
}

// unauthorized is Keystone's answer, and that of its middleware in front of Nova.
func unauthorized(base string) reply {
	return reply{code: 401, headers: map[string]string{"WWW-Authenticate": `Keystone uri="` + base + `/v3"`},
		body: map[string]any{"error": map[string]any{"code": 401, "title": "Unauthorized",
			"message": "The request you have made requires authentication."}}}
}

// withToken asks for a valid token.
func (s *Server) withToken(handle func(*request) reply) func(*request) reply {
	return func(r *request) reply {
		t, known := s.tokens[r.Header.Get("X-Auth-Token")]
		if !known || !r.now.Before(t.expires) {
			return unauthorized(r.base)
		}
		r.admin = t.admin
		return handle(r)
	}
}

// RevokeTokens invalidates every token that was given out so far.
func (s *Server) RevokeTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = map[string]token{}
}

func catalog(base string) []any {
	var all []any
	for _, service := range []struct{ kind, name, path string }{
		{"identity", "keystone", "/v3"}, {"compute", "nova", "/v2.1"}, {"placement", "placement", "/placement"},
	} {
		var endpoints []any
		for _, i := range []string{"public", "internal", "admin"} {
			endpoints = append(endpoints, map[string]string{"id": service.name + "-" + i, "interface": i, "region": "RegionOne",
				"region_id": "RegionOne", "url": base + service.path})
		}
		all = append(all, map[string]any{"id": service.name, "name": service.name, "type": service.kind, "endpoints": endpoints})
	}
	return all
}

func keystoneTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }
