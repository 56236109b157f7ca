package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// errInterrupted: a signal ended what was being done.
var errInterrupted = errors.New("interrupted")

// hangupEnds has SIGHUP, which a lost ssh session sends, end a command in good order, as
// SIGTERM does. A supervisor takes it for something else, and nohup ignores it.
func hangupEnds(ctx context.Context) (context.Context, context.CancelFunc) {
	if signal.Ignored(syscall.SIGHUP) {
		return ctx, func() {}
	}
	return signal.NotifyContext(ctx, syscall.SIGHUP)
}

// interruptible reads from a file until ctx ends: a read of a terminal or of a pipe would
// go on in spite of all signals that are caught.
type interruptible struct {
	ctx  context.Context
	from io.Reader
}

// stdin is standard input, until ctx ends.
func stdin(ctx context.Context) io.Reader { return interruptible{ctx, os.Stdin} }

// Read reads into a memory of its own, since the read may end when nobody waits for it.
func (r interruptible) Read(p []byte) (int, error) {
	type result struct {
		data []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		data := make([]byte, min(len(p), 4096))
		n, err := r.from.Read(data)
		done <- result{data[:n], err}
	}()
	select {
	case got := <-done:
		return copy(p, got.data), got.err
	case <-r.ctx.Done():
		return 0, errInterrupted
	}
}
