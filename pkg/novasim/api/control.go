package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/nova-evac/nova-evac/pkg/novasim"
	"github.com/nova-evac/nova-evac/pkg/novasim/control"
)

// controlRoutes are for tests and the demo: JSON, no authentication, no faults.
func (s *Server) controlRoutes() {
	for pattern, do := range map[string]func(*http.Request) (any, error){
		"GET /control/state":          func(*http.Request) (any, error) { return s.cloud.State(), nil },
		"GET /control/requests":       func(*http.Request) (any, error) { return s.Requests(), nil },
		"GET /control/check":          func(*http.Request) (any, error) { return s.cloud.Report(), nil },
		"POST /control/reset":         done(s.Reset),
		"POST /control/instances":     s.addInstances,
		"POST /control/hosts":         s.addHost,
		"POST /control/hosts/{host}":  s.changeHost,
		"POST /control/controllers":   s.changeControllers,
		"POST /control/faults":        s.addFault,
		"DELETE /control/faults":      done(s.ClearFaults),
		"DELETE /control/faults/{id}": s.removeFault,
		"POST /control/latency":       s.setLatency,
		"POST /control/tokens/revoke": done(s.RevokeTokens),
	} {
		s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			result, err := do(r)
			if err != nil {
				write(w, bad(err))
				return
			}
			write(w, ok(result))
		})
	}
	s.mux.HandleFunc("GET /control/wait", s.wait)
}

func bad(err error) reply {
	return reply{code: http.StatusBadRequest, body: map[string]string{"error": err.Error()}}
}

// nothing is the answer of a request that has none.
var nothing = struct{}{}

// done is a route that reads nothing and cannot fail.
func done(do func()) func(*http.Request) (any, error) {
	return func(*http.Request) (any, error) { do(); return nothing, nil }
}

func (s *Server) addInstances(r *http.Request) (any, error) {
	var batch novasim.Batch
	if err := read(r, &batch); err != nil {
		return nil, err
	}
	ids, err := s.cloud.AddInstances(batch)
	return control.Added{IDs: ids}, err
}

func (s *Server) addHost(r *http.Request) (any, error) {
	var host control.NewHost
	if err := read(r, &host); err != nil {
		return nil, err
	}
	return nothing, s.cloud.AddHost(host.Name)
}

func (s *Server) changeHost(r *http.Request) (any, error) {
	var change novasim.HostChange
	if err := read(r, &change); err != nil {
		return nil, err
	}
	return nothing, s.cloud.ChangeHost(r.PathValue("host"), change)
}

func (s *Server) changeControllers(r *http.Request) (any, error) {
	var change novasim.ControllerChange
	if err := read(r, &change); err != nil {
		return nil, err
	}
	return nothing, s.cloud.ChangeControllers(change)
}

func (s *Server) addFault(r *http.Request) (any, error) {
	var f control.Fault
	if err := read(r, &f); err != nil {
		return nil, err
	}
	id, err := s.AddFault(f)
	return control.FaultAdded{ID: id}, err
}

func (s *Server) removeFault(r *http.Request) (any, error) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		return nil, fmt.Errorf("fault %s is no number", r.PathValue("id"))
	}
	s.RemoveFault(id)
	return nothing, nil
}

func (s *Server) setLatency(r *http.Request) (any, error) {
	var body control.Latency
	if err := read(r, &body); err != nil {
		return nil, err
	}
	d, err := novasim.ParseDuration(body.Base, 0)
	if err != nil {
		return nil, fmt.Errorf("base: %w", err)
	}
	s.SetLatency(d)
	return nothing, nil
}

// read reads a body. An unknown field is an error: a misspelt fault would otherwise
// never strike, and the test would not notice.
func read(r *http.Request, into any) error {
	decoder := json.NewDecoder(io.LimitReader(r.Body, maxBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("body: %w", err)
	}
	return nil
}

// waitTimeout is the default timeout of GET /control/wait.
const waitTimeout = 30 * time.Second

// wait answers with the report when every count that the query names has been
// reached, or 408 with the report when that took too long.
func (s *Server) wait(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	timeout := waitTimeout
	wants := map[string]int{}
	for _, key := range sortedKeys(q) {
		var err error
		switch key {
		case "timeout":
			timeout, err = time.ParseDuration(q.Get(key))
		case "evacuated_at_least", "in_progress_at_least":
			wants[key], err = strconv.Atoi(q.Get(key))
		default:
			err = fmt.Errorf("there are evacuated_at_least, in_progress_at_least and timeout")
		}
		if err != nil {
			write(w, bad(fmt.Errorf("%s: %w", key, err)))
			return
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	report, reached := s.cloud.Wait(ctx, func(report novasim.Report) bool {
		return report.Evacuated >= wants["evacuated_at_least"] && report.InProgress >= wants["in_progress_at_least"]
	})
	switch {
	case reached:
		write(w, ok(report))
	case r.Context().Err() == nil:
		write(w, reply{code: http.StatusRequestTimeout, body: report})
	}
}
