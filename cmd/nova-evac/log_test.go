package main

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/sirupsen/logrus"
)

// stuck is an output that takes nothing until it is let go.
type stuck struct {
	goes    chan struct{}
	once    sync.Once
	reached chan struct{}

	mu   sync.Mutex
	text bytes.Buffer
}

func (s *stuck) Write(p []byte) (int, error) {
	s.once.Do(func() { close(s.reached) })
	<-s.goes
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func TestALogThatTakesNothingStopsNobody(t *testing.T) {
	out := &stuck{goes: make(chan struct{}), reached: make(chan struct{})}
	log, flush := newLog(out, false)
	log.Info("the first")
	<-out.reached
	for range backlogSize + 7 { // a logger that waits would hang here
		log.Info("another one")
	}
	close(out.goes)
	log.Info("the last")
	flush()
	out.mu.Lock()
	defer out.mu.Unlock()
	text := out.text.String()
	if n := strings.Count(text, "another one"); n != backlogSize {
		t.Errorf("%d lines are there, expected %d", n, backlogSize)
	}
	if !strings.Contains(text, `msg="7 lines of the log were lost`) && !strings.Contains(text, `msg="8 lines of the log were lost`) {
		t.Errorf("it does not say how many lines were lost: %q", text[max(0, len(text)-300):])
	}
}

func TestALogThatStaysStuckDelaysTheEndByAMomentOnly(t *testing.T) {
	out := &stuck{goes: make(chan struct{}), reached: make(chan struct{})}
	log, flush := newLog(out, false)
	log.Info("the only one")
	flush() // returns
	close(out.goes)
}

func TestLinesKeepTheirOrderAndText(t *testing.T) {
	read, write := io.Pipe()
	log, flush := newLog(write, true)
	go func() {
		for _, text := range []string{"one", "two", "three"} {
			log.WithFields(logrus.Fields{"host": text}).Debug(text)
		}
		flush()
		write.Close()
	}()
	all, err := io.ReadAll(read)
	if err != nil || strings.Count(string(all), "\n") != 3 || !strings.Contains(string(all), "msg=one host=one") ||
		strings.Index(string(all), "msg=two") > strings.Index(string(all), "msg=three") {
		t.Errorf("%s %v", all, err)
	}
}
