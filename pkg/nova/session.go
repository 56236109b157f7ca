package nova

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
)

// session is one token and what the catalogue that came with it said. It never
// changes: when the token expires, a new session takes its place.
type session struct {
	provider *gophercloud.ProviderClient
	// compute and placement are the roots of the two APIs, as the catalogue has
	// them; placement is empty where the catalogue has none.
	compute, placement string
}

// api is where and in which version Nova is spoken to.
type api struct {
	base    string // ends with a slash
	version microversion
}

// login gives the session, a new one if there is none yet or if the one there is
// has turned out stale.
//
// gophercloud's own reauthentication is not used: it runs under the context of
// whichever caller came first, so that one caller's cancelled request fails all
// those that wait with it. Here any number of callers share one authentication,
// it ends by its own timeout, and each caller waits no longer than its own
// context.
func (c *Client) login(ctx context.Context, stale *session) (*session, error) {
	if s := c.session.Load(); s != nil && s != stale {
		return s, nil
	}
	s, err := c.share(ctx, "login", func(ctx context.Context) (any, error) {
		if s := c.session.Load(); s != nil && s != stale {
			return s, nil
		}
		s, err := c.authenticate(ctx)
		if err == nil {
			c.session.Store(s)
		}
		return s, err
	})
	if err != nil {
		return nil, err
	}
	return s.(*session), nil
}

// share runs work once for all the callers that ask for it at the same time.
func (c *Client) share(ctx context.Context, what string, work func(context.Context) (any, error)) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, &Error{Op: what, Kind: ErrNotSent, Message: c.transportMessage(ctx, err)}
	}
	// Not under any caller's context: work bounds each of its requests itself.
	answer := c.shared.DoChan(what, func() (any, error) { return work(context.Background()) })
	select {
	case r := <-answer:
		return r.Val, r.Err
	case <-ctx.Done():
		return nil, &Error{Op: what, Kind: ErrNotSent, Message: c.transportMessage(ctx, ctx.Err())}
	}
}

// authenticate gets a token and reads the catalogue. Its errors are ErrNotSent:
// without a token nothing reaches Nova.
func (c *Client) authenticate(ctx context.Context) (*session, error) {
	fail := func(code int, message string) (*session, error) {
		return nil, &Error{Op: "authenticate at " + c.identity, Kind: ErrNotSent, Code: code, Message: c.clean(message)}
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	provider := &gophercloud.ProviderClient{IdentityBase: c.identity, IdentityEndpoint: c.identity, HTTPClient: *c.http}
	provider.UseTokenLock()
	if c.userAgent != "" {
		provider.UserAgent.Prepend(c.userAgent)
	}
	keystone := &gophercloud.ServiceClient{ProviderClient: provider, Endpoint: c.identity, Type: "identity"}
	auth := c.auth // tokens.Create may write to it
	result := tokens.Create(ctx, keystone, &auth)
	if err := result.Err; err != nil {
		var answer gophercloud.ErrUnexpectedResponseCode
		if errors.As(err, &answer) {
			message, _ := verdict(answer.Actual, answer.Body)
			return fail(answer.Actual, message)
		}
		return fail(0, c.transportMessage(context.Background(), err))
	}
	if err := provider.SetTokenAndAuthResult(result); err != nil {
		return fail(0, "Keystone's answer holds no token: "+err.Error())
	}
	catalog, err := result.ExtractServiceCatalog()
	if err != nil {
		return fail(0, "Keystone's answer holds no catalogue: "+err.Error())
	}
	s := &session{provider: provider}
	if s.compute, err = endpoint(catalog, "compute", c.endpointType, c.region); err != nil {
		return fail(0, err.Error())
	}
	// Placement is asked for one rare question only; a cloud that hides it is not
	// refused.
	s.placement, _ = endpoint(catalog, "placement", c.endpointType, c.region)
	return s, nil
}

// endpoint picks the one endpoint of a service. Where no region was asked for and
// the catalogue has several, it picks none: hosts of the same name may stand in
// both, and to force down the wrong one kills its instances.
func endpoint(catalog *tokens.ServiceCatalog, service, kind, region string) (string, error) {
	found := map[string]string{} // region: address
	var others []string
	for _, entry := range catalog.Entries {
		if entry.Type != service {
			continue
		}
		for _, e := range entry.Endpoints {
			in := e.Region
			if in == "" {
				in = e.RegionID
			}
			if e.Interface != kind || region != "" && region != e.Region && region != e.RegionID {
				others = append(others, e.Interface+" in "+in)
				continue
			}
			if _, ok := found[in]; !ok {
				found[in] = gophercloud.NormalizeURL(e.URL)
			}
		}
	}
	switch {
	case len(found) == 1:
		for _, address := range found {
			return address, nil
		}
	case len(found) > 1:
		regions := make([]string, 0, len(found))
		for in := range found {
			regions = append(regions, in)
		}
		slices.Sort(regions)
		return "", fmt.Errorf("the catalogue has a %s endpoint in the regions %s: name one with region_name", service, strings.Join(regions, ", "))
	}
	wanted := kind
	if region != "" {
		wanted += " in " + region
	}
	if len(others) == 0 {
		return "", fmt.Errorf("the catalogue has no %s endpoint at all for this project", service)
	}
	return "", fmt.Errorf("the catalogue has no %s endpoint %s, only: %s (see endpoint_type and region_name)", service, wanted, strings.Join(others, ", "))
}

// negotiate gives the version of the API to use, which is asked of Nova once.
func (c *Client) negotiate(ctx context.Context, s *session) (*api, error) {
	if a := c.api.Load(); a != nil {
		return a, nil
	}
	a, err := c.share(ctx, "version", func(ctx context.Context) (any, error) {
		if a := c.api.Load(); a != nil {
			return a, nil
		}
		a, err := c.discover(ctx, s)
		if err == nil {
			c.api.Store(a)
		}
		return a, err
	})
	if err != nil {
		return nil, err
	}
	return a.(*api), nil
}

// versionPart finds the version in a compute endpoint. A catalogue may hold
// http://HOST:8774/v2.1, the same with a project's id behind it, or no version.
var versionPart = regexp.MustCompile(`/v2(\.\d+)?(/|$)`)

// version is Nova's version document, of which "versions" is the form at an
// address without a version.
type version struct {
	ID      string `json:"id"`
	Version string `json:"version"` // the highest microversion, "" for none
}

func (c *Client) discover(ctx context.Context, s *session) (*api, error) {
	u, err := url.Parse(s.compute)
	if err != nil {
		return nil, &Error{Op: "find Nova's version", Kind: ErrRefused, Message: "the catalogue's compute endpoint is not a URL"}
	}
	// What stands behind the version is a project's id of old catalogues. Nova has
	// not wanted it since Mitaka, and takes requests with it too: it is kept.
	root := *u
	if at := versionPart.FindStringIndex(u.Path); at != nil {
		root.Path = strings.TrimRight(u.Path[:at[1]], "/") + "/"
	}
	op := "read Nova's versions at " + root.String()
	code, body, err := c.exchange(ctx, s, op, http.MethodGet, root.String(), nil, nil)
	if err != nil {
		return nil, err
	}
	var doc struct {
		Version  version   `json:"version"`
		Versions []version `json:"versions"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, &Error{Op: op, Kind: ErrAnswered, Code: code, Message: "the answer is no version document: " + c.clean(err.Error())}
	}
	base := s.compute
	if i := slices.IndexFunc(doc.Versions, func(v version) bool { return v.ID == "v2.1" }); i >= 0 {
		doc.Version = doc.Versions[i]
		base = strings.TrimRight(s.compute, "/") + "/v2.1/"
	}
	if doc.Version.Version == "" {
		return nil, &Error{Op: op, Kind: ErrRefused, Code: code, Message: "it speaks no microversions; the catalogue's compute endpoint must be that of v2.1"}
	}
	highest, err := parseMicroversion(doc.Version.Version)
	if err != nil {
		return nil, &Error{Op: op, Kind: ErrAnswered, Code: code, Message: c.clean(err.Error())}
	}
	if least, _ := parseMicroversion(MinMicroversion); highest.less(least) {
		return nil, &Error{Op: op, Kind: ErrRefused, Code: code, Message: fmt.Sprintf("its highest microversion is %s, nova-evac needs at least %s (Pike)", highest, MinMicroversion)}
	}
	chosen := c.ceiling
	if highest.less(chosen) {
		chosen = highest
	}
	c.log.WithField("microversion", chosen.String()).Debug("nova: version negotiated")
	return &api{base: base, version: chosen}, nil
}
