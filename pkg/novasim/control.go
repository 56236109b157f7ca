package novasim

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// controlRoutes are for tests and the demo: JSON, no authentication, no faults.
func (c *Cloud) controlRoutes(mux *http.ServeMux) {
	handle := func(pattern string, do func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			result, err := do(r)
			if err != nil {
				write(w, reply{code: http.StatusBadRequest, body: map[string]string{"error": err.Error()}})
				return
			}
			write(w, ok(result))
		})
	}
	none := map[string]any{}
	handle("GET /control/state", func(*http.Request) (any, error) { return c.State(), nil })
	handle("GET /control/requests", func(*http.Request) (any, error) { return c.Requests(), nil })
	handle("GET /control/check", func(*http.Request) (any, error) { return c.Report(), nil })
	handle("POST /control/reset", func(*http.Request) (any, error) { c.Reset(); return none, nil })
	handle("POST /control/instances", func(r *http.Request) (any, error) {
		var batch Batch
		if err := control(r, &batch); err != nil {
			return nil, err
		}
		ids, err := c.AddInstances(batch)
		return added{ids}, err
	})
	handle("POST /control/hosts", func(r *http.Request) (any, error) {
		var body named
		if err := control(r, &body); err != nil {
			return nil, err
		}
		return none, c.AddHost(body.Name)
	})
	handle("POST /control/hosts/{host}", func(r *http.Request) (any, error) {
		var change HostChange
		if err := control(r, &change); err != nil {
			return nil, err
		}
		return none, c.ChangeHost(r.PathValue("host"), change)
	})
	handle("POST /control/controllers", func(r *http.Request) (any, error) {
		var change ControllerChange
		if err := control(r, &change); err != nil {
			return nil, err
		}
		return none, c.ChangeControllers(change)
	})
	handle("POST /control/faults", func(r *http.Request) (any, error) {
		var f Fault
		if err := control(r, &f); err != nil {
			return nil, err
		}
		id, err := c.AddFault(f)
		return faultAdded{id}, err
	})
	handle("DELETE /control/faults", func(*http.Request) (any, error) { c.ClearFaults(); return none, nil })
	handle("DELETE /control/faults/{id}", func(r *http.Request) (any, error) {
		id, err := strconv.Atoi(r.PathValue("id"))
		if err != nil {
			return nil, fmt.Errorf("fault %s is no number", r.PathValue("id"))
		}
		c.RemoveFault(id)
		return none, nil
	})
	handle("POST /control/latency", func(r *http.Request) (any, error) {
		var body baseLatency
		if err := control(r, &body); err != nil {
			return nil, err
		}
		d, err := duration(body.Base, 0)
		if err != nil {
			return nil, fmt.Errorf("base: %w", err)
		}
		c.SetLatency(d)
		return none, nil
	})
	handle("POST /control/tokens/revoke", func(*http.Request) (any, error) { c.RevokeTokens(); return none, nil })
	mux.HandleFunc("GET /control/wait", c.wait)
}

// The answers and bodies that the client shares.
type (
	added struct {
		IDs []string `json:"ids"`
	}
	faultAdded struct {
		ID int `json:"id"`
	}
	baseLatency struct {
		Base string `json:"base"`
	}
)

// control reads a body. An unknown field is an error: a misspelt fault would otherwise
// never strike, and the test would not notice.
func control(r *http.Request, into any) error {
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
func (c *Cloud) wait(w http.ResponseWriter, r *http.Request) {
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
			write(w, reply{code: http.StatusBadRequest, body: map[string]string{"error": fmt.Sprintf("%s: %v", key, err)}})
			return
		}
	}
	over := time.NewTimer(timeout)
	defer over.Stop()
	for {
		unlock := c.look()
		report, wake, next := c.report(), c.wake, time.Hour
		if len(c.due) > 0 {
			next = c.due[0].at.Sub(c.now)
		}
		unlock()
		if report.Evacuated >= wants["evacuated_at_least"] && report.InProgress >= wants["in_progress_at_least"] {
			write(w, ok(report))
			return
		}
		// Under the wall clock the next event happens at the next look; under any other,
		// when somebody moves the clock.
		due := time.NewTimer(max(next, time.Millisecond))
		select {
		case <-wake:
		case <-due.C:
		case <-over.C:
			due.Stop()
			write(w, reply{code: http.StatusRequestTimeout, body: report})
			return
		case <-r.Context().Done():
			due.Stop()
			return
		}
		due.Stop()
	}
}
