package record

import "strings"

// Wait says in words for what an evacuation waits, or why something was left. The zero Wait
// says nothing. Two that are equal are written alike, so that it can be told whether a record
// has to be written anew.
type Wait struct{ text string }

// WaitFor makes a Wait of any text. It is safe inside a record's value: one line of printable
// ASCII, at most maxWait long. Pacemaker 2.1 prints any other character as octal escapes
// (crm_xml_escape): the value read would differ from the value written, and no
// compare-and-swap could match it. crmsh cannot read double quotes back.
func WaitFor(text string) Wait {
	text = strings.Map(func(c rune) rune {
		switch {
		case c == '"':
			return '\''
		case c == '\\':
			return '/'
		case c < ' ':
			return ' '
		case c > '~':
			return '?'
		}
		return c
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxWait {
		text = strings.TrimRight(text[:maxWait-len("...")], " ") + "..."
	}
	return Wait{text}
}

// String is the text.
func (w Wait) String() string { return w.text }

// maxWait keeps a record to one readable line; the CIB would take far more.
const maxWait = 600

// ForSupervisor is what a record waits for that nobody carries.
var ForSupervisor = WaitFor("a supervisor to claim it")
