package api

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/nova-evac/nova-evac/pkg/novasim"
	"github.com/nova-evac/nova-evac/pkg/novasim/control"
)

type fault struct {
	control.Fault
	id      int
	path    *regexp.Regexp
	latency time.Duration
	left    int
	until   time.Time
}

// AddFault adds a fault, until RemoveFault with the id that it returns.
func (s *Server) AddFault(f control.Fault) (id int, err error) {
	made := &fault{Fault: f, left: f.Count}
	if made.path, err = regexp.Compile(f.Match.Path); err != nil {
		return 0, fmt.Errorf("path: %w", err)
	}
	if made.latency, err = novasim.ParseDuration(f.Latency, 0); err != nil {
		return 0, fmt.Errorf("latency: %w", err)
	}
	lasts, err := novasim.ParseDuration(f.For, 0)
	if err != nil {
		return 0, fmt.Errorf("for: %w", err)
	}
	if err := check(f); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faultID++
	made.id = s.faultID
	if f.For != "" {
		made.until = s.cloud.Now().Add(lasts)
	}
	s.faults = append(s.faults, made)
	return made.id, nil
}

// check refuses a fault that would never strike, or do nothing.
func check(f control.Fault) error {
	switch {
	case f.Match.Kind != "" && f.Match.Kind != "*" && !slices.Contains(control.Kinds, f.Match.Kind):
		return fmt.Errorf("kind %s: there are %v and *", f.Match.Kind, control.Kinds)
	case !slices.Contains([]string{"", "before", "after"}, f.Cut):
		return fmt.Errorf("cut: %q is neither before nor after", f.Cut)
	case f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("status: %d is none", f.Status)
	case f.Status == 0 && f.Cut == "" && f.Latency == "" && !f.Hang:
		return fmt.Errorf("a fault needs a status, cut, latency or hang")
	}
	return nil
}

// RemoveFault removes a fault; an unknown id is no error.
func (s *Server) RemoveFault(id int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = slices.DeleteFunc(s.faults, func(f *fault) bool { return f.id == id })
}

// ClearFaults removes all faults.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// strike finds the fault that strikes a request, nil for none, and the request's latency.
func (s *Server) strike(kind, path string) (*fault, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cloud.Now()
	for _, f := range s.faults {
		if f.matches(kind, path, now) && (f.Probability <= 0 || s.noise.Float64() < f.Probability) {
			f.left--
			return f, s.latency + f.latency
		}
	}
	return nil, s.latency
}

// matches reports whether a fault may strike a request.
func (f *fault) matches(kind, path string, now time.Time) bool {
	return (f.Match.Kind == "" || f.Match.Kind == "*" || f.Match.Kind == kind) && f.path.MatchString(path) &&
		(f.Count <= 0 || f.left != 0) && (f.until.IsZero() || now.Before(f.until))
}

// SetLatency is how long every request takes from now on.
func (s *Server) SetLatency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency = d
}
