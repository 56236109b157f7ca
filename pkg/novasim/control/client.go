package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nova-evac/nova-evac/pkg/novasim"
)

// Client speaks to a simulated cloud's control API, for tests.
type Client struct {
	// URL is the cloud's, without a path.
	URL string
	// HTTP sends the requests; nil is http.DefaultClient.
	HTTP *http.Client
}

// State gives the state of the cloud.
func (c Client) State(ctx context.Context) (s novasim.State, err error) {
	return s, c.call(ctx, http.MethodGet, "state", nil, &s)
}

// Requests gives the requests to the cloud so far.
func (c Client) Requests(ctx context.Context) (r Requests, err error) {
	return r, c.call(ctx, http.MethodGet, "requests", nil, &r)
}

// Check gives the report about the cloud.
func (c Client) Check(ctx context.Context) (r novasim.Report, err error) {
	return r, c.call(ctx, http.MethodGet, "check", nil, &r)
}

// Reset puts the cloud back into its first state.
func (c Client) Reset(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "reset", nil, nil)
}

// AddInstances makes instances and returns their ids.
func (c Client) AddInstances(ctx context.Context, batch novasim.Batch) ([]string, error) {
	var answer Added
	err := c.call(ctx, http.MethodPost, "instances", batch, &answer)
	return answer.IDs, err
}

// AddHost makes a compute host.
func (c Client) AddHost(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodPost, "hosts", NewHost{name}, nil)
}

// ChangeHost changes a host.
func (c Client) ChangeHost(ctx context.Context, name string, change novasim.HostChange) error {
	return c.call(ctx, http.MethodPost, "hosts/"+url.PathEscape(name), change, nil)
}

// ChangeControllers freezes or thaws the controllers' services.
func (c Client) ChangeControllers(ctx context.Context, change novasim.ControllerChange) error {
	return c.call(ctx, http.MethodPost, "controllers", change, nil)
}

// AddFault adds a fault from now on, and returns its id.
func (c Client) AddFault(ctx context.Context, f Fault) (int, error) {
	var answer FaultAdded
	err := c.call(ctx, http.MethodPost, "faults", f, &answer)
	return answer.ID, err
}

// RemoveFault removes one fault.
func (c Client) RemoveFault(ctx context.Context, id int) error {
	return c.call(ctx, http.MethodDelete, "faults/"+strconv.Itoa(id), nil, nil)
}

// ClearFaults removes all faults.
func (c Client) ClearFaults(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "faults", nil, nil)
}

// SetLatency is how long every request takes from now on.
func (c Client) SetLatency(ctx context.Context, d time.Duration) error {
	return c.call(ctx, http.MethodPost, "latency", Latency{d.String()}, nil)
}

// RevokeTokens invalidates every token that was given out so far.
func (c Client) RevokeTokens(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "tokens/revoke", nil, nil)
}

// WaitEvacuated waits until so many instances have been evacuated and run. After the timeout
// it fails, and gives the report all the same.
func (c Client) WaitEvacuated(ctx context.Context, n int, timeout time.Duration) (novasim.Report, error) {
	return c.wait(ctx, "evacuated_at_least", n, timeout)
}

// WaitInProgress waits until so many evacuations are under way at once.
func (c Client) WaitInProgress(ctx context.Context, n int, timeout time.Duration) (novasim.Report, error) {
	return c.wait(ctx, "in_progress_at_least", n, timeout)
}

func (c Client) wait(ctx context.Context, what string, n int, timeout time.Duration) (r novasim.Report, err error) {
	q := url.Values{what: {strconv.Itoa(n)}, "timeout": {timeout.String()}}
	return r, c.call(ctx, http.MethodGet, "wait?"+q.Encode(), nil, &r)
}

// call sends one request. An answer other than 200 is an error; a report that comes
// with it is read all the same.
func (c Client) call(ctx context.Context, method, path string, body, into any) error {
	var text bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&text).Encode(body); err != nil {
			return fmt.Errorf("%s /control/%s: %w", method, path, err)
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(c.URL, "/")+"/control/"+path, &text)
	if err != nil {
		return err
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	var said bytes.Buffer
	if _, err := said.ReadFrom(answer.Body); err != nil {
		return fmt.Errorf("%s /control/%s: %w", method, path, err)
	}
	if into != nil && (answer.StatusCode == http.StatusOK || answer.StatusCode == http.StatusRequestTimeout) {
		if err := json.Unmarshal(said.Bytes(), into); err != nil {
			return fmt.Errorf("%s /control/%s: %w in %q", method, path, err, said.String())
		}
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s /control/%s: %s: %s", method, path, answer.Status, strings.TrimSpace(said.String()))
	}
	return nil
}
