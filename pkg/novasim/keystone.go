package novasim

import (
	"crypto/subtle"
	"net/http"
	"slices"
	"time"
)

type token struct {
	expires time.Time
	admin   bool
}

// Member is the user that is no administrator.
const Member = "demo"

func (c *Cloud) root(r *request) reply {
	return reply{code: http.StatusMultipleChoices, body: map[string]any{"versions": map[string]any{"values": []any{identity(r)}}}}
}

func (c *Cloud) keystoneVersion(r *request) reply { return ok(map[string]any{"version": identity(r)}) }

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
func (c *Cloud) authenticate(r *request) reply {
	var body authRequest
	if refused := r.decode(&body); refused != nil {
		return reply{code: 400, body: map[string]any{"error": map[string]any{"code": 400, "title": "Bad Request", "message": refused.message}}}
	}
	secret := func(given string) bool { return subtle.ConstantTimeCompare([]byte(given), []byte(c.cfg.Password)) == 1 }
	who := body.Auth.Identity
	scoped, admin := false, false
	switch {
	case slices.Contains(who.Methods, "application_credential"):
		if who.ApplicationCredential.ID != c.cfg.ApplicationCredential || !secret(who.ApplicationCredential.Secret) {
			return unauthorized(r.base)
		}
		scoped, admin = true, true // by itself
	case slices.Contains(who.Methods, "password"):
		admin = who.Password.User.is("u-admin", c.cfg.User)
		if !admin && !who.Password.User.is("u-member", Member) || !secret(who.Password.User.Password) {
			return unauthorized(r.base)
		}
	default:
		return unauthorized(r.base)
	}
	if scope := body.Auth.Scope; scope != nil && scope.Project != nil {
		if !scope.Project.is(adminProject, c.cfg.Project) {
			return unauthorized(r.base)
		}
		scoped = true
	}
	t := token{expires: c.now.Add(c.cfg.TokenLifetime), admin: admin && scoped}
	id := "gAAAAA" + uuid(c.noise)
	c.tokens[id] = t
	domain := map[string]string{"id": "default", "name": "Default"}
	user, userID, role := c.cfg.User, "u-admin", "admin"
	if !admin {
		user, userID, role = Member, "u-member", "member"
	}
	answer := map[string]any{"methods": who.Methods, "issued_at": keystoneTime(c.now), "expires_at": keystoneTime(t.expires),
		"audit_ids": []string{r.id}, "user": map[string]any{"id": userID, "name": user, "domain": domain, "password_expires_at": nil}}
	if scoped {
		answer["project"] = map[string]any{"id": adminProject, "name": c.cfg.Project, "domain": domain}
		answer["roles"] = []any{map[string]string{"id": "r-" + role, "name": role}}
		answer["is_domain"] = false
		answer["catalog"] = catalog(r.base)
	}
	return reply{code: http.StatusCreated, headers: map[string]string{"X-Subject-Token": id}, body: map[string]any{"token": answer}}
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
