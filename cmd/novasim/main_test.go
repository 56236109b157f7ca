package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/pkg/novasim/control"
)

func TestItServesUntilItIsTold(t *testing.T) {
	ready := filepath.Join(t.TempDir(), "url")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	var log buffer
	app := app()
	app.Writer, app.ErrWriter = in, &log
	ended := make(chan error, 1)
	go func() {
		ended <- app.RunContext(ctx, []string{"novasim", "--hosts", "a,b", "--instances", "a=3", "--instances", "b=2", "--ready-file", ready, "--verbose"})
		in.Close()
	}()
	lines := bufio.NewReader(out)
	url, err := lines.ReadString('\n')
	if err != nil {
		t.Fatalf("no URL: %v; %v", err, <-ended)
	}
	url = strings.TrimSpace(url)
	report, err := control.Client{URL: url}.Check(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if report.OnHost["a"] != 3 || report.OnHost["b"] != 2 {
		t.Errorf("report: %+v", report)
	}
	if text, err := os.ReadFile(ready); err != nil || strings.TrimSpace(string(text)) != url {
		t.Errorf("ready file %q, %v", text, err)
	}

	// A request that hangs must not hold up the end.
	if _, err := (control.Client{URL: url}).AddFault(ctx, control.Fault{Hang: true}); err != nil {
		t.Fatal(err)
	}
	cut := make(chan error, 1)
	go func() {
		r, err := http.Get(url + "/v3")
		if err == nil {
			r.Body.Close()
		}
		cut <- err
	}()
	for {
		requests, err := control.Client{URL: url}.Requests(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if requests.Counts["version"] == 1 {
			break
		}
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it does not end")
	}
	if err := <-cut; err == nil {
		t.Error("the request that hung was answered")
	}
	if !strings.Contains(log.String(), `msg="GET /control/check"`) || !strings.Contains(log.String(), "status=200") {
		t.Errorf("log: %s", log.String())
	}
}

// buffer is a bytes.Buffer that handlers may still write to while it is read.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func TestWrongOptionsAreNamed(t *testing.T) {
	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"an unknown host", "no host c in --hosts", []string{"--hosts", "a,b", "--instances", "c=3"}},
		{"no number", "give HOST=NUMBER", []string{"--instances", "compute-1"}},
		{"an empty name", "a name is empty", []string{"--hosts", "a,,b"}},
		{"a version of another kind", "give one like 2.93", []string{"--max-microversion", "3"}},
		{"an argument", "there are no arguments", []string{"compute-1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			app := app()
			app.Writer, app.ErrWriter = io.Discard, io.Discard
			err := app.RunContext(t.Context(), append([]string{"novasim"}, c.args...))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
		})
	}
}
