// Package control is the supervisor's control socket: one line of JSON asked, one
// line of JSON answered. The agent's monitor and the shell's status and host use it.
package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nova-evac/nova-evac/pkg/record"
)

// What can be asked.
const (
	// OpMonitor: does the supervisor run, and does its loop come round?
	OpMonitor = "monitor"
	// OpStatus: the state of all hosts.
	OpStatus = "status"
)

// Request is one question.
type Request struct {
	Op string `json:"op"`
}

// Response is the answer. It never carries a secret.
type Response struct {
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
	Node  string `json:"node,omitempty"`
	Hosts []Host `json:"hosts,omitempty"`
}

// Host is the state of one host's evacuation, as `status --output json` prints it.
type Host struct {
	Host  string `json:"host"`
	Node  string `json:"node,omitempty"` // the cluster's name, where that is another
	Phase string `json:"phase"`
	Gen   int    `json:"gen"`
	Owner string `json:"owner"`
	Power string `json:"power"` // off, on, or running: its nova-compute was seen to run
	record.Counts
	Since      time.Time `json:"since"`
	Updated    time.Time `json:"updated"`
	WaitingFor string    `json:"waiting_for"`
}

// Errors on which callers decide. Test them with errors.Is.
var (
	// ErrNotRunning: nobody listens.
	ErrNotRunning = errors.New("no supervisor listens")
	// ErrNoAnswer: somebody listens, or is stopped while it does, and does not answer.
	ErrNoAnswer = errors.New("the supervisor does not answer")
)

const (
	// maxRequest bounds what one connection may send.
	maxRequest = 4096
	// patience bounds how long one connection may take to ask, and to take its answer. A
	// monitor waits a second longer, so that it gets a turn after those that only linger.
	patience = 2 * time.Second
	// maxConnections bounds how many connections there are at once; others wait for a turn.
	maxConnections = 64
	// acceptPause is the longest pause after an accept that failed.
	acceptPause = time.Second
)

// Call asks the supervisor that listens at path, and waits no longer than ctx.
func Call(ctx context.Context, path string, request Request) (Response, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return Response{}, fmt.Errorf("%w at %s", ErrNotRunning, path)
	case err != nil:
		return Response{}, fmt.Errorf("%w: %w", ErrNoAnswer, err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline) // a unix socket takes deadlines
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := json.NewEncoder(conn).Encode(request); err != nil {
		return Response{}, fmt.Errorf("%w: %w", ErrNoAnswer, err)
	}
	var response Response
	if err := json.NewDecoder(conn).Decode(&response); err != nil {
		return Response{}, fmt.Errorf("%w: %w", ErrNoAnswer, err)
	}
	return response, nil
}

// Serve answers requests at path until ctx ends, then removes the socket. The
// socket has mode 0600 from its first moment. A socket that a dead supervisor has
// left is replaced: whoever serves holds the node's presence, so it is nobody's.
func Serve(ctx context.Context, path string, handle func(context.Context, Request) Response) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("control socket: %w", err)
	}
	old := unix.Umask(0o177)
	listener, err := net.Listen("unix", path)
	unix.Umask(old)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	return acceptAll(ctx, listener, handle)
}

// acceptAll takes connections until ctx ends. An accept that fails, such as for want of file
// descriptors, is tried again: the socket must not end for it, nor the supervisor with it.
func acceptAll(ctx context.Context, listener net.Listener, handle func(context.Context, Request) Response) error {
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	turns := make(chan struct{}, maxConnections)
	pause := time.Duration(0)
	for {
		select {
		case turns <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		conn, err := listener.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("control socket: %w", err)
		case err != nil:
			<-turns
			pause = min(max(2*pause, 5*time.Millisecond), acceptPause)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return nil
			}
			continue
		}
		pause = 0
		go func() {
			defer func() { <-turns }()
			answer(ctx, conn, handle)
		}()
	}
}

// answer reads one request and writes one response.
func answer(ctx context.Context, conn net.Conn, handle func(context.Context, Request) Response) {
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(patience)) // a unix socket takes deadlines
	line, err := bufio.NewReader(io.LimitReader(conn, maxRequest)).ReadBytes('\n')
	if err != nil {
		return
	}
	var request Request
	response := Response{}
	if err := json.Unmarshal(line, &request); err != nil {
		response.Error = "the request is no JSON object on one line"
	} else {
		response = handle(ctx, request)
	}
	_ = conn.SetWriteDeadline(time.Now().Add(patience))
	_ = json.NewEncoder(conn).Encode(response) // who has gone away needs no answer
}
