package control

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// serve runs a server until the test ends and returns its socket.
func serve(t *testing.T, handle func(context.Context, Request) Response) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, path, handle) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); err == nil {
			t.Error("the socket is left behind")
		}
	})
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		if _, err := Call(context.Background(), path, Request{Op: OpMonitor}); err == nil {
			return path
		}
	}
	t.Fatal("the server did not come up in 5 s")
	return ""
}

func TestARequestIsAnswered(t *testing.T) {
	path := serve(t, func(_ context.Context, r Request) Response {
		return Response{OK: true, Node: "ctl1", Hosts: []Host{{Host: "asked for " + r.Op, Phase: "fenced"}}}
	})
	got, err := Call(context.Background(), path, Request{Op: OpStatus})
	if err != nil || !got.OK || len(got.Hosts) != 1 || got.Hosts[0].Host != "asked for status" {
		t.Errorf("%+v, %v", got, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestNobodyListensIsToldFromNobodyAnswers(t *testing.T) {
	dir := t.TempDir()
	if _, err := Call(context.Background(), filepath.Join(dir, "none"), Request{}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no socket: %v", err)
	}
	left := filepath.Join(dir, "left")
	l, err := net.Listen("unix", left)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if _, err := Call(context.Background(), left, Request{}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a socket left by a dead process: %v", err)
	}
	stuck := filepath.Join(dir, "stuck")
	l, err = net.Listen("unix", stuck)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := Call(ctx, stuck, Request{}); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("a process that hangs: %v", err)
	}
}

func TestNonsenseDoesNotHurtTheServer(t *testing.T) {
	path := serve(t, func(context.Context, Request) Response { return Response{OK: true} })
	for _, text := range []string{"nonsense\n", "[]\n", strings.Repeat("x", 2*maxRequest)} {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, text) // the server may hang up on it
		answer, _ := io.ReadAll(conn)
		if strings.Contains(string(answer), `"ok":true`) {
			t.Errorf("%.20q was taken for a request", text)
		}
		conn.Close()
	}
	if r, err := Call(context.Background(), path, Request{Op: OpMonitor}); err != nil || !r.OK {
		t.Errorf("%+v, %v", r, err)
	}
}

// poor is a listener for which there are no file descriptors at first.
type poor struct {
	net.Listener
	fails atomic.Int32
}

func (p *poor) Accept() (net.Conn, error) {
	if p.fails.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "unix", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return p.Listener.Accept()
}

func TestAnAcceptThatFailsEndsNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	listener := &poor{Listener: l}
	listener.fails.Store(4)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- acceptAll(ctx, listener, func(context.Context, Request) Response { return Response{OK: true} })
	}()
	if r, err := Call(t.Context(), path, Request{Op: OpMonitor}); err != nil || !r.OK {
		t.Errorf("%+v, %v", r, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestConnectionsThatLingerLeaveATurnToMonitor(t *testing.T) {
	path := serve(t, func(context.Context, Request) Response { return Response{OK: true} })
	for range maxConnections + 8 {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	began := time.Now()
	r, err := Call(ctx, path, Request{Op: OpMonitor})
	if err != nil || !r.OK {
		t.Errorf("%+v, %v", r, err)
	}
	if took := time.Since(began); took < patience/2 {
		t.Errorf("it took %v: there is no bound on the connections", took)
	}
}
