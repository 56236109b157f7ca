package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/pkg/novasim"
)

func TestTokens(t *testing.T) {
	s := newSim(t, func(_ *novasim.Config, c *Config) { c.TokenLifetime = time.Hour })
	works := func() int { return s.do("GET", "/v2.1/os-services", "").Code }

	w := s.login("admin", "wrong")
	s.is("a wrong password", said(w), "401 error: The request you have made requires authentication.")
	s.is("an unknown user", fmt.Sprint(s.login("nobody", "secret").Code), "401")
	s.is("junk", fmt.Sprint(s.do("POST", "/v3/auth/tokens", "{").Code), "400")
	s.is("another project", fmt.Sprint(s.do("POST", "/v3/auth/tokens", `{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"admin",
		"domain":{"id":"default"},"password":"secret"}}},"scope":{"project":{"name":"other","domain":{"id":"default"}}}}}`).Code), "401")
	s.is("another domain", fmt.Sprint(s.do("POST", "/v3/auth/tokens", `{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"admin",
		"domain":{"id":"other"},"password":"secret"}}}}}`).Code), "401")

	s.is("a fresh token", fmt.Sprint(works()), "200")
	s.pass(59 * time.Minute)
	s.is("a token before its end", fmt.Sprint(works()), "200")
	s.pass(time.Minute)
	expired := s.do("GET", "/v2.1/os-services", "")
	s.is("an expired token", said(expired), "401 error: The request you have made requires authentication.")
	s.is("its header", expired.Header().Get("WWW-Authenticate"), `Keystone uri="http://cloud/v3"`)

	s.token = s.login("admin", "secret").Header().Get("X-Subject-Token")
	s.is("a new token", fmt.Sprint(works()), "200")
	s.server.RevokeTokens()
	s.is("a revoked token", fmt.Sprint(works()), "401")
	s.token = "junk"
	s.is("a junk token", fmt.Sprint(works()), "401")
	s.is("placement asks, too", fmt.Sprint(s.do("GET", "/placement/allocations/x", "").Code), "401")

	w = s.do("POST", "/v3/auth/tokens", `{"auth":{"identity":{"methods":["application_credential"],"application_credential":{"id":"novasim","secret":"secret"}}}}`)
	s.token = w.Header().Get("X-Subject-Token")
	s.is("an application credential", fmt.Sprint(w.Code, works()), "201 200")
	w = s.do("POST", "/v3/auth/tokens", `{"auth":{"identity":{"methods":["application_credential"],"application_credential":{"id":"novasim","secret":"wrong"}}}}`)
	s.is("a wrong one", fmt.Sprint(w.Code), "401")
}

func TestTheTokenSaysWhenItExpiresAndWhereToGo(t *testing.T) {
	for _, c := range []struct{ publicURL, want string }{{"", "http://cloud"}, {"https://api.example.org/", "https://api.example.org"}} {
		s := newSim(t, func(_ *novasim.Config, cfg *Config) { cfg.PublicURL, cfg.TokenLifetime = c.publicURL, time.Hour })
		var body struct {
			Token struct {
				ExpiresAt time.Time `json:"expires_at"`
				Catalog   []struct {
					Type      string
					Endpoints []struct{ Interface, Region, URL string }
				}
			}
		}
		if err := json.Unmarshal(s.login("admin", "secret").Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		if !body.Token.ExpiresAt.Equal(s.now.Add(time.Hour)) {
			t.Errorf("expires_at %v", body.Token.ExpiresAt)
		}
		var all []string
		for _, service := range body.Token.Catalog {
			for _, e := range service.Endpoints {
				all = append(all, strings.Join([]string{service.Type, e.Interface, e.Region, e.URL}, " "))
			}
		}
		var want []string
		for _, service := range []string{"identity /v3", "compute /v2.1", "placement /placement"} {
			kind, path, _ := strings.Cut(service, " ")
			for _, i := range []string{"public", "internal", "admin"} {
				want = append(want, kind+" "+i+" RegionOne "+c.want+path)
			}
		}
		s.is("catalogue", strings.Join(all, "\n"), strings.Join(want, "\n"))
	}
}
