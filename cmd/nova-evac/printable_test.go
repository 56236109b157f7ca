package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nova-evac/nova-evac/pkg/control"
)

func TestATextFromOutsideDoesNotSteerTheTerminal(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"plain", "größe 7 → 9\n\tx", "größe 7 → 9\n\tx"},
		{"a screen is cleared", "a\x1b[2Jb", "a\ufffd[2Jb"},
		{"a line is overwritten", "a\rb\bc", "a\ufffdb\ufffdc"},
		{"a C1 control", "a\u009b2Jb", "a\ufffd2Jb"},
		{"a C1 control that is no UTF-8", "a\x9b2Jb", "a\ufffd2Jb"},
		{"a text that runs backwards", "a\u202eb", "a\ufffdb"},
		{"the delete key", "a\x7fb", "a\ufffdb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			if n, err := fmt.Fprint(printed{&out}, c.text); err != nil || n != len(c.text) || out.String() != c.want {
				t.Errorf("%q, %d, %v", out.String(), n, err)
			}
		})
	}
}

func TestAReasonCannotForgeALineOfTheTable(t *testing.T) {
	var out bytes.Buffer
	host := control.Host{Host: "compute-1", Phase: "fenced", WaitingFor: "x\ncompute-2  evacuated\tyes\x1b[A"}
	if err := printTable(printed{&out}, []control.Host{host}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(strings.TrimSpace(out.String()), "\n"); len(lines) != 2 || strings.ContainsAny(out.String(), "\x1b\t") {
		t.Errorf("%q", out.String())
	}
}
