package main

import (
	"io"
	"strings"
	"unicode"
)

// printed is a writer for texts, to a terminal most of the time. Some of them come from Nova
// or from a record, which anybody with a user's rights in the cloud may have written: a
// control character in them must not move the cursor, or rewrite what stands above.
type printed struct{ io.Writer }

// Write writes a text without control characters.
func (p printed) Write(text []byte) (int, error) {
	if _, err := io.WriteString(p.Writer, printable(string(text))); err != nil {
		return 0, err
	}
	return len(text), nil
}

// printable replaces control characters, but for the ends of lines and tabs, and those that
// turn the direction of what follows. What is no UTF-8 may be one, too.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// oneLine is a text from outside as a part of a line.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
