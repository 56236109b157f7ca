package novasim

import (
	"fmt"
	"regexp"
	"slices"
	"time"
)

// Fault is trouble for requests. Of several faults that match a request the oldest strikes.
type Fault struct {
	// Match selects the requests that it strikes.
	Match Match `json:"match"`
	// Status is answered instead of doing anything.
	Status int `json:"status,omitempty"`
	// Cut closes the connection "before" or "after" the effect, without an answer.
	Cut string `json:"cut,omitempty"`
	// Latency delays the request, before its effect; Hang does so until the client
	// gives up, and there is no effect.
	Latency string `json:"latency,omitempty"`
	Hang    bool   `json:"hang,omitempty"`
	// Count is how many requests it strikes, 0 for any number; For how long it lasts;
	// Probability with which it strikes, 0 for always.
	Count       int     `json:"count,omitempty"`
	For         string  `json:"for,omitempty"`
	Probability float64 `json:"probability,omitempty"`
}

// Match selects requests.
type Match struct {
	// Kind is the kind of a request (see Kinds), or "*" or nothing for all.
	Kind string `json:"kind,omitempty"`
	// Path is a regular expression that the URL's path must match.
	Path string `json:"path,omitempty"`
}

// Kinds are the kinds of requests that are told apart and counted.
var Kinds = []string{"keystone", "version", "services", "service", "servers", "server", "delete", "evacuate", "action", "actions",
	"migrations", "hypervisors", "placement", "unknown"}

type fault struct {
	Fault
	id      int
	path    *regexp.Regexp
	latency time.Duration
	left    int
	until   time.Time
}

// AddFault adds a fault, until RemoveFault with the id that it returns.
func (c *Cloud) AddFault(f Fault) (id int, err error) {
	made := &fault{Fault: f, left: f.Count}
	if made.path, err = regexp.Compile(f.Match.Path); err != nil {
		return 0, fmt.Errorf("path: %w", err)
	}
	if made.latency, err = duration(f.Latency, 0); err != nil {
		return 0, fmt.Errorf("latency: %w", err)
	}
	lasts, err := duration(f.For, 0)
	if err != nil {
		return 0, fmt.Errorf("for: %w", err)
	}
	switch {
	case f.Match.Kind != "" && f.Match.Kind != "*" && !slices.Contains(Kinds, f.Match.Kind):
		return 0, fmt.Errorf("kind %s: there are %v and *", f.Match.Kind, Kinds)
	case !slices.Contains([]string{"", "before", "after"}, f.Cut):
		return 0, fmt.Errorf("cut: %q is neither before nor after", f.Cut)
	case f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return 0, fmt.Errorf("status: %d is none", f.Status)
	case f.Status == 0 && f.Cut == "" && f.Latency == "" && !f.Hang:
		return 0, fmt.Errorf("a fault needs a status, cut, latency or hang")
	}
	defer c.lock()()
	c.faultID++
	made.id = c.faultID
	if f.For != "" {
		made.until = c.now.Add(lasts)
	}
	c.faults = append(c.faults, made)
	return made.id, nil
}

// RemoveFault removes a fault; an unknown id is no error.
func (c *Cloud) RemoveFault(id int) {
	defer c.lock()()
	c.faults = slices.DeleteFunc(c.faults, func(f *fault) bool { return f.id == id })
}

// ClearFaults removes all faults.
func (c *Cloud) ClearFaults() {
	defer c.lock()()
	c.faults = nil
}

// strike finds the fault that strikes a request, nil for none, and the request's latency.
func (c *Cloud) strike(kind, path string) (*fault, time.Duration) {
	defer c.look()()
	for _, f := range c.faults {
		switch {
		case f.Match.Kind != "" && f.Match.Kind != "*" && f.Match.Kind != kind,
			!f.path.MatchString(path),
			f.Count > 0 && f.left == 0,
			!f.until.IsZero() && !c.now.Before(f.until),
			f.Probability > 0 && c.noise.Float64() >= f.Probability:
			continue
		}
		f.left--
		return f, c.latency + f.latency
	}
	return nil, c.latency
}

// SetLatency is how long every request takes from now on.
func (c *Cloud) SetLatency(d time.Duration) {
	defer c.lock()()
	c.latency = d
}

// RevokeTokens invalidates every token that was given out so far.
func (c *Cloud) RevokeTokens() {
	defer c.lock()()
	c.tokens = map[string]token{}
}
