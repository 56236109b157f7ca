package main

import (
	"fmt"
	"io"
	"log/syslog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	logsyslog "github.com/sirupsen/logrus/hooks/syslog"
	"golang.org/x/sys/unix"

	"github.com/nova-evac/nova-evac/pkg/ocf"
	"github.com/nova-evac/nova-evac/pkg/safefile"
)

// newLog makes a logger that writes to out and never waits for it. flush waits a moment
// until what was logged is written.
func newLog(out io.Writer, verbose bool) (log *logrus.Logger, flush func()) {
	log = logrus.New()
	log.SetFormatter(&logrus.TextFormatter{DisableColors: true, FullTimestamp: true})
	if verbose {
		log.SetLevel(logrus.DebugLevel)
	}
	lines := newBacklog(func(lost int64) {
		fmt.Fprintf(out, "time=%q level=warning msg=\"%d lines of the log were lost: it took no more\"\n", time.Now().Format(time.RFC3339), lost)
	})
	log.SetOutput(writerFunc(func(line []byte) (int, error) {
		line = append([]byte(nil), line...) // logrus uses it again
		lines.add(func() { _, _ = out.Write(line) })
		return len(line), nil
	}))
	return log, lines.flush
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// backlog does small jobs of output in order, in a goroutine of its own. A full disk, a pipe
// that nobody reads, or a syslog that hangs stops that goroutine, and nothing else: jobs that
// find the backlog full are dropped, and counted.
type backlog struct {
	jobs chan func()
	lost atomic.Int64
}

const (
	// backlogSize is how many lines wait for an output: a megabyte at most.
	backlogSize = 1000
	// flushTime bounds the wait for the output at the end.
	flushTime = time.Second
)

// newBacklog makes a backlog. report is told how many jobs were lost before the next one.
func newBacklog(report func(lost int64)) *backlog {
	b := &backlog{jobs: make(chan func(), backlogSize)}
	go func() {
		for job := range b.jobs {
			if lost := b.lost.Swap(0); lost > 0 {
				report(lost)
			}
			job()
		}
	}()
	return b
}

func (b *backlog) add(job func()) {
	select {
	case b.jobs <- job:
	default:
		b.lost.Add(1)
	}
}

// flush waits until everything is done that was added before, or for flushTime.
func (b *backlog) flush() {
	done := make(chan struct{})
	enough := time.After(flushTime)
	select {
	case b.jobs <- func() { close(done) }:
	case <-enough:
		return
	}
	select {
	case <-done:
	case <-enough:
	}
}

// toSyslog sends a logger's lines to syslog, too, and never waits for it. Without syslog, the
// log file has every line all the same.
type toSyslog struct {
	lines *backlog
	hook  *logsyslog.SyslogHook // used in the backlog only
}

func newToSyslog() *toSyslog {
	t := &toSyslog{}
	t.lines = newBacklog(func(lost int64) {
		if t.hook != nil {
			_ = t.hook.Writer.Warning(fmt.Sprintf("%d lines were lost: syslog took no more", lost))
		}
	})
	t.lines.add(func() {
		if hook, err := logsyslog.NewSyslogHook("", "", syslog.LOG_DAEMON|syslog.LOG_INFO, "nova-evac"); err == nil {
			t.hook = hook
		}
	})
	return t
}

// Levels are those that go to syslog: all.
func (*toSyslog) Levels() []logrus.Level { return logrus.AllLevels }

// Fire takes a line in.
func (t *toSyslog) Fire(entry *logrus.Entry) error {
	line := entry.Dup() // logrus uses the entry again
	line.Level, line.Message = entry.Level, entry.Message
	t.lines.add(func() {
		if t.hook != nil {
			_ = t.hook.Fire(line)
		}
	})
	return nil
}

// logFile is standard error, where that is a file of a name. When logrotate has moved the
// file away, the next line opens a new one of the name. SIGHUP logs a line, and so does that.
type logFile struct{ path string }

// newLogFile finds the name of the file that standard error goes to; it has none on a
// terminal or a pipe.
func newLogFile() logFile {
	path, err := os.Readlink("/proc/self/fd/2")
	if err != nil || !filepath.IsAbs(path) {
		return logFile{}
	}
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return logFile{}
	}
	return logFile{path}
}

// Write writes to the file that has the name now.
func (l logFile) Write(line []byte) (int, error) {
	if err := l.follow(); err != nil {
		fmt.Fprintf(os.Stderr, "the log stays in its old file: %v\n", err)
	}
	return os.Stderr.Write(line)
}

// follow opens the file anew where another one, or none, has its name. Standard error
// itself is replaced, and standard output with it, so that the text of a crash goes there too.
func (l logFile) follow() error {
	if l.path == "" {
		return nil
	}
	named, err := os.Stat(l.path)
	if open, oerr := os.Stderr.Stat(); err == nil && oerr == nil && os.SameFile(named, open) {
		return nil
	}
	file, err := safefile.OpenAppend(l.path, ocf.LogMode)
	if err != nil {
		return err
	}
	defer file.Close()
	replaced := []int{unix.Stderr}
	out, err := os.Stdout.Stat()
	if old, oerr := os.Stderr.Stat(); err == nil && oerr == nil && os.SameFile(out, old) {
		replaced = append(replaced, unix.Stdout)
	}
	for _, fd := range replaced {
		if err := unix.Dup3(int(file.Fd()), fd, 0); err != nil {
			return fmt.Errorf("open %s: %w", l.path, err)
		}
	}
	return nil
}
