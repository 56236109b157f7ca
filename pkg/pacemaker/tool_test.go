package pacemaker

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestAToolsFailureIsOneLine(t *testing.T) {
	for _, c := range []struct {
		name, script string
		code         int
		want         string
	}{
		{"success", "echo fine", 0, ""},
		{"a code", "echo 'no such object' >&2; echo more >&2; exit 105", 105, "sh: exit status 105: no such object"},
		{"no answer", "exec sleep 60", -1, "sh: no answer within 200ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, code, err := Run(t.Context(), 200*time.Millisecond, "sh", "-c", c.script)
			said := ""
			if err != nil {
				said = err.Error()
			}
			if code != c.code || said != c.want || c.code == 0 && string(out) != "fine\n" {
				t.Errorf("%q, %d, %v", out, code, err)
			}
		})
	}
	if _, code, err := Run(t.Context(), 0, "there-is-no-such-tool"); code != -1 || err == nil {
		t.Error(code, err)
	}
}

func TestAnInterruptedToolIsNotOneThatIsSilent(t *testing.T) {
	interrupted, interrupt := context.WithCancel(t.Context())
	interrupt()
	hurried, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
		want string
	}{
		{"interrupted", interrupted, "sh: interrupted"},
		{"its caller's time is over", hurried, "sh: no answer within 100ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, _, err := Run(c.ctx, time.Minute, "sh", "-c", "exec sleep 60"); err == nil || err.Error() != c.want {
				t.Error(err)
			}
		})
	}
}

func TestNoSecretIsPassedOn(t *testing.T) {
	t.Setenv("OS_PASSWORD", "secret")
	t.Setenv("OCF_RESKEY_password", "secret")
	t.Setenv("CIB_file", "/tmp/cib.xml")
	out, _, err := Run(t.Context(), 0, "env")
	if err != nil || strings.Contains(string(out), "secret") || !strings.Contains(string(out), "CIB_file=/tmp/cib.xml") {
		t.Errorf("%s %v", out, err)
	}
}
