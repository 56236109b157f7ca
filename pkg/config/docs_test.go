package config

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the table of parameters into docs/operating.md")

func TestTheDocumentationHasTheTable(t *testing.T) {
	const path = "../../docs/operating.md"
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(content), "<!-- parameters:")
	marker, rest, _ := strings.Cut(rest, "\n")
	got, after, ended := strings.Cut(rest, "<!-- end of parameters -->")
	if !found || !ended {
		t.Fatalf("%s has not the two comments around the table of parameters", path)
	}
	want := table()
	if *update {
		text := before + "<!-- parameters:" + marker + "\n" + want + "<!-- end of parameters -->" + after
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s differs, run this test with -update:\n%s", path, diff)
	}
}

// table is the parameters in Markdown: those that something offers, or a variable gives.
func table() string {
	var text strings.Builder
	text.WriteString("\n| parameter | default | |\n|---|---|---|\n")
	for _, p := range parameters {
		if p.In == 0 && p.Env == nil {
			continue
		}
		name := "`" + p.Name + "`"
		for _, s := range p.Spellings {
			if s.As == Equal {
				name = "`" + s.Name + "` = " + name
			}
		}
		or := " "
		switch {
		case p.Default != "":
			or = " `" + p.Default + "` "
		case p.Kind == YesNo:
			or = " `no` "
		case p.Otherwise != "":
			or = " " + p.Otherwise + " "
		}
		fmt.Fprintf(&text, "| %s |%s| %s%s |\n", name, or, whose(p), strings.ReplaceAll(p.Long, "|", `\|`))
	}
	return text.String() + "\n"
}

// whose says which agent alone has the parameter, or where else it is given; nothing
// where both the OCF agent and the fence agent have it.
func whose(p Parameter) string {
	switch p.In & (OCFAgent | GateAgent | FenceAgent) {
	case OCFAgent:
		return "OCF agent. "
	case FenceAgent:
		return "fence agent. "
	case GateAgent:
		return "gate agent and `gate`. "
	case OCFAgent | GateAgent:
		return "OCF agent and gate agent. "
	case 0:
		return "`" + p.Env[0] + "` and clouds.yaml. "
	}
	return ""
}
