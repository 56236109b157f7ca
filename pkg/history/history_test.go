package history

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nova-evac/nova-evac/pkg/nova"
)

var rewrite = flag.Bool("rewrite", false, "write into testdata what is found")

// TestTexts reads looks at Nova as text and compares what they mean. testdata/README.md says
// how the texts are read.
func TestTexts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			found := carryOut(t, string(text))
			if *rewrite {
				if err := os.WriteFile(file, []byte(found), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(strings.Split(string(text), "\n"), strings.Split(found, "\n")); diff != "" && !*rewrite {
				t.Errorf("(go test ./pkg/history -rewrite writes what is found)\n%s", diff)
			}
		})
	}
}

// carryOut gives a text again, with what its looks mean below each dashed line.
func carryOut(t *testing.T, text string) string {
	t.Helper()
	var out strings.Builder
	for _, part := range strings.Split(strings.TrimRight(text, "\n"), "\n\n") {
		input, _, is := strings.Cut(part, "\n----")
		out.WriteString(input)
		if is {
			s := newScene(t)
			for line := range strings.Lines(input) {
				s.take(strings.Fields(line))
			}
			out.WriteString("\n----\n" + s.shown())
		}
		out.WriteString("\n\n")
	}
	return strings.TrimRight(out.String(), "\n") + "\n"
}

// scene is one look, while it is read.
type scene struct {
	*testing.T
	look Look
	err  error
}

func newScene(t *testing.T) *scene {
	s := &scene{T: t, look: Look{Host: "src", Back: map[string]bool{}, Headed: map[string][]string{}, Courses: map[int]nova.Course{}}}
	s.look.Since, s.look.Now = s.moment("03:00:00"), s.moment("03:01:00")
	s.look.Services = []nova.Service{{Host: "src", ForcedDown: true}}
	return s
}

// moment reads a time of the day of the fencing, or of the day before.
func (s *scene) moment(text string) time.Time {
	day := 2
	if rest, before := strings.CutPrefix(text, "-"); before {
		day, text = 1, rest
	}
	t, err := time.Parse(time.TimeOnly, text)
	if err != nil {
		s.Fatal(err)
	}
	return time.Date(2026, 3, day, t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
}

// facts are the words of a line behind its subject: names, each with its value.
func (s *scene) facts(words []string) map[string]string {
	facts := map[string]string{}
	for len(words) > 0 {
		switch words[0] {
		case "disabled", "failed", "partial":
			facts[words[0]], words = "yes", words[1:]
		case "fault", "given-up":
			facts[words[0]], words = strings.Join(words[1:], " "), nil
		default:
			if len(words) < 2 {
				s.Fatalf("%q has no value", words[0])
			}
			facts[words[0]], words = words[1], words[2:]
		}
	}
	return facts
}

// take reads one line.
func (s *scene) take(words []string) {
	if len(words) == 0 || words[0] == "#" {
		return
	}
	read, known := map[string]func(words []string){
		"fenced":     func(w []string) { s.look.Since = s.moment(w[0]) },
		"now":        func(w []string) { s.look.Now = s.moment(w[0]) },
		"ahead":      func(w []string) { s.look.Clock.Ahead, s.err = time.ParseDuration(w[0]) },
		"seen-on":    func([]string) { s.look.SeenOn = true },
		"back":       func(w []string) { s.look.Back[w[0]] = true },
		"room":       func(w []string) { s.look.Headed[w[0]] = w[1:] },
		"host":       func(w []string) { s.host(w[0], w[1], s.facts(w[2:])) },
		"instance":   func(w []string) { s.instance(w[0], w[1], s.facts(w[2:])) },
		"evacuation": func(w []string) { s.evacuation(w[0], w[1], w[2], s.facts(w[3:])) },
		"events":     func(w []string) { s.events(w[0], s.facts(w[1:])) },
	}[words[0]]
	if !known {
		s.Fatalf("%q is no line of a look", words[0])
	}
	if read(words[1:]); s.err != nil {
		s.Fatal(s.err)
	}
}

func (s *scene) host(name, state string, facts map[string]string) {
	one := nova.Service{Host: name, Up: state == "up", ForcedDown: state == "down", Enabled: state == "up" && facts["disabled"] == "", Partial: facts["partial"] != ""}
	if fenced := facts["fenced"]; fenced != "" {
		one.DisabledReason = "nova-evac gen=1 since=" + s.moment(fenced).Format(time.RFC3339) + ": fenced, being evacuated"
	}
	if heard := facts["heard"]; heard != "" {
		one.Updated = s.moment(heard)
	}
	if name == "src" {
		s.look.Services = nil
	}
	s.look.Services = append(s.look.Services, one)
}

func (s *scene) instance(id, state string, facts map[string]string) {
	one := nova.Server{ID: id, Name: "vm-" + id, Host: "src", VMState: state, TaskState: facts["task"], Fault: facts["fault"], Partial: state == "partial"}
	if changed := facts["changed"]; changed != "" {
		one.Updated = s.moment(changed)
	}
	s.look.Servers = append(s.look.Servers, one)
}

func (s *scene) evacuation(id, instance, status string, facts map[string]string) {
	n, err := strconv.Atoi(id)
	if err != nil {
		s.Fatal(err)
	}
	one := nova.Migration{ID: n, Instance: instance, Source: "src", Dest: facts["to"], Status: nova.Status(status), Created: s.moment("03:00:10")}
	if from := facts["from"]; from != "" {
		one.Source = from
	}
	if created := facts["created"]; created != "" {
		one.Created = s.moment(created)
	}
	if written := facts["written"]; written != "" {
		one.Updated = s.moment(written)
	}
	s.look.Evacuations = append(s.look.Evacuations, one)
}

func (s *scene) events(id string, facts map[string]string) {
	n, err := strconv.Atoi(id)
	if err != nil {
		s.Fatal(err)
	}
	c := nova.Course{Failed: facts["failed"] != "", Err: facts["given-up"]}
	for name, at := range map[string]*time.Time{"sent": &c.Sent, "taken": &c.Taken, "ended": &c.Ended} {
		if text := facts[name]; text != "" {
			*at = s.moment(text)
		}
	}
	s.look.Courses[n] = c
}

// shown is what the look means, in words.
func (s *scene) shown() string {
	s.look.Began = s.look.Now
	h := Read(s.look)
	var out strings.Builder
	for _, about := range []struct {
		is   bool
		what string
	}{{h.Heard, "src was heard of after its fencing"}, {h.Whole && h.Service.Up, "src needs nobody"}, {h.Left > 0, fmt.Sprintf("%d left src", h.Left)}} {
		if about.is {
			fmt.Fprintln(&out, about.what)
		}
	}
	for _, i := range h.Instances {
		fmt.Fprintf(&out, "%s %s\n", i.Server.ID, strings.Join(verdict(i), "; "))
		for _, e := range i.Evacuations {
			at := ""
			if e.At != "" {
				at = " (" + e.At + ")"
			}
			fmt.Fprintf(&out, "  %d %s%s, by %s\n", e.ID, e.Outcome, at, e.By)
		}
		if asked := asks(i); len(asked) > 0 {
			fmt.Fprintf(&out, "  asks %s\n", strings.Join(asked, ", "))
		}
	}
	return strings.TrimRight(out.String(), "\n")
}

// verdict is what is to be thought of the instance as a whole.
func verdict(i Instance) []string {
	var all []string
	switch {
	case i.Server.Partial:
		all = append(all, "is unknown")
	case i.CameSince:
		all = append(all, "runs on the host")
	case i.UnderWay && i.Dest != "":
		all = append(all, "is under way to "+i.Dest)
	case i.UnderWay:
		all = append(all, "is under way")
	default:
		all = append(all, "stays")
	}
	if i.Failed && !i.UnderWay {
		all = append(all, "its evacuation failed")
	}
	if what := [...]string{"", "guest in reach on ", "guest out of reach on ", "dead guest on "}[i.Guest.State]; what != "" {
		all = append(all, what+i.Guest.Host)
	}
	return all
}

// asks is what more would be asked at this look.
func asks(i Instance) []string {
	turn := ToSend
	if i.UnderWay || i.Server.Partial {
		turn = UnderWay
	}
	q := i.Questions(turn)
	var all []string
	for _, m := range q.Trace {
		all = append(all, fmt.Sprintf("the events of %d", m.ID))
	}
	if q.Headed {
		all = append(all, "placement")
	}
	if q.Everywhere {
		all = append(all, "its records on all hosts")
	}
	return all
}
