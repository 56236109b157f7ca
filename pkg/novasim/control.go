package novasim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Fault is trouble that the cloud is told to make.
type Fault struct {
	// Kind is the kind of request that it strikes (see Request.Kind), "*" all.
	Kind string `json:"kind"`
	// Status is answered instead of doing anything.
	Status int `json:"status,omitempty"`
	// Cut closes the connection "before" or "after" the effect.
	Cut string `json:"cut,omitempty"`
	// Latency delays the answer, Hang does so for ever.
	Latency string `json:"latency,omitempty"`
	Hang    bool   `json:"hang,omitempty"`
	// Count is how many requests it strikes, For how long; zero is without end.
	Count int    `json:"count,omitempty"`
	For   string `json:"for,omitempty"`
}

type fault struct {
	Fault
	latency time.Duration
	left    int
	until   time.Time
}

// AddFault makes trouble from now on.
func (c *Cloud) AddFault(f Fault) error {
	made := &fault{Fault: f, left: f.Count}
	c.lock()
	defer c.mu.Unlock()
	var err error
	if f.Latency != "" {
		if made.latency, err = time.ParseDuration(f.Latency); err != nil {
			return err
		}
	}
	if f.For != "" {
		d, err := time.ParseDuration(f.For)
		if err != nil {
			return err
		}
		made.until = c.cfg.Now().Add(d)
	}
	c.faults = append(c.faults, made)
	return nil
}

// ClearFaults ends all trouble.
func (c *Cloud) ClearFaults() {
	c.lock()
	defer c.mu.Unlock()
	c.faults = nil
}

// fault finds what strikes a request, and counts it.
func (c *Cloud) fault(kind, _ string) *fault {
	c.lock()
	defer c.mu.Unlock()
	for _, f := range c.faults {
		if f.Kind != "*" && f.Kind != kind || f.Count > 0 && f.left == 0 || !f.until.IsZero() && !c.cfg.Now().Before(f.until) {
			continue
		}
		f.left--
		return f
	}
	return nil
}

// HostChange is what can be done to a host; nil leaves a thing as it is.
type HostChange struct {
	Power       *string `json:"power,omitempty"`   // on, off
	Compute     *string `json:"compute,omitempty"` // start, kill
	RebuildTime *string `json:"rebuild_time,omitempty"`
	ClaimDelay  *string `json:"claim_delay,omitempty"`
	// Fail is the message with which rebuilds fail, empty for none; FailCount how
	// many do, all where it is not given.
	Fail      *string `json:"fail,omitempty"`
	FailCount *int    `json:"fail_count,omitempty"`
	Hang      *bool   `json:"hang,omitempty"`
}

// ChangeHost does something to a host.
func (c *Cloud) ChangeHost(name string, change HostChange) error {
	c.lock()
	h := c.hosts[name]
	if h == nil {
		c.mu.Unlock()
		return fmt.Errorf("no host %s", name)
	}
	var err error
	duration := func(text *string, into *time.Duration) {
		if text != nil && err == nil {
			*into, err = time.ParseDuration(*text)
		}
	}
	duration(change.RebuildTime, &h.rebuildTime)
	duration(change.ClaimDelay, &h.claimDelay)
	if change.Fail != nil {
		h.fail, h.failCount = *change.Fail, -1
		if change.FailCount != nil {
			h.failCount = *change.FailCount
		}
	}
	if change.Hang != nil {
		h.hang = *change.Hang
	}
	c.mu.Unlock()
	if err == nil && change.Power != nil {
		err = c.SetPower(name, *change.Power == "on")
	}
	if err == nil && change.Compute != nil {
		err = c.SetCompute(name, *change.Compute == "start")
	}
	return err
}

// controlRoutes are for tests and the demo: JSON, no authentication, no faults.
func (c *Cloud) controlRoutes(mux *http.ServeMux) {
	body := func(r *http.Request, into any) error { return json.NewDecoder(r.Body).Decode(into) }
	answer := func(w http.ResponseWriter, result any, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		write(w, ok(result))
	}
	mux.HandleFunc("POST /control/instances", func(w http.ResponseWriter, r *http.Request) {
		var q struct {
			Count   int    `json:"count"`
			Host    string `json:"host"`
			Name    string `json:"name"`
			VMState string `json:"vm_state"`
		}
		err := body(r, &q)
		var ids []string
		if err == nil {
			ids, err = c.AddInstances(max(q.Count, 1), q.Host, q.Name, q.VMState)
		}
		answer(w, map[string]any{"ids": ids}, err)
	})
	mux.HandleFunc("POST /control/hosts/{host}", func(w http.ResponseWriter, r *http.Request) {
		var change HostChange
		err := body(r, &change)
		if err == nil {
			err = c.ChangeHost(r.PathValue("host"), change)
		}
		answer(w, map[string]any{}, err)
	})
	mux.HandleFunc("POST /control/faults", func(w http.ResponseWriter, r *http.Request) {
		var f Fault
		err := body(r, &f)
		if err == nil {
			err = c.AddFault(f)
		}
		answer(w, map[string]any{}, err)
	})
	mux.HandleFunc("DELETE /control/faults", func(w http.ResponseWriter, r *http.Request) {
		c.ClearFaults()
		answer(w, map[string]any{}, nil)
	})
	mux.HandleFunc("POST /control/tokens/revoke", func(w http.ResponseWriter, r *http.Request) {
		c.lock()
		c.tokens = map[string]time.Time{}
		c.mu.Unlock()
		answer(w, map[string]any{}, nil)
	})
	mux.HandleFunc("GET /control/check", func(w http.ResponseWriter, r *http.Request) { answer(w, c.Check(), nil) })
	mux.HandleFunc("GET /control/requests", func(w http.ResponseWriter, r *http.Request) {
		c.lock()
		defer c.mu.Unlock()
		answer(w, map[string]any{"counts": c.counts, "requests": c.requests}, nil)
	})
	mux.HandleFunc("GET /control/wait", c.wait)
}

// wait answers when the named count of Check has reached a number, or 408.
func (c *Cloud) wait(w http.ResponseWriter, r *http.Request) {
	timeout, err := time.ParseDuration(r.URL.Query().Get("timeout"))
	if err != nil {
		timeout = 30 * time.Second
	}
	deadline := time.Now().Add(timeout)
	for {
		report := c.Check()
		reached := true
		for key, n := range map[string]int{"evacuated_at_least": report.Evacuated, "in_progress_at_least": report.InProgress} {
			if text := r.URL.Query().Get(key); text != "" {
				want, err := strconv.Atoi(strings.TrimSpace(text))
				if err != nil {
					http.Error(w, key+" is no number", http.StatusBadRequest)
					return
				}
				reached = reached && n >= want
			}
		}
		switch {
		case reached:
			write(w, ok(report))
			return
		case time.Now().After(deadline), r.Context().Err() != nil:
			write(w, reply{code: http.StatusRequestTimeout, body: report})
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
