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
	// patience bounds how long one connection may take to ask.
	patience = 5 * time.Second
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
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("control socket: %w", err)
		}
		go answer(ctx, conn, handle)
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
