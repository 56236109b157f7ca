package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	repository = "../.."
	// width is that of prose; rows of tables and code may be wider.
	width = 100
)

var (
	link  = regexp.MustCompile(`\[[^\]]*\]\(([^)\s]+)\)`)
	punct = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// pages gives the text of every page for people, by its path in the repository.
func pages(t *testing.T) map[string]string {
	t.Helper()
	text := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "test/lab/*.md"} {
		paths, err := filepath.Glob(filepath.Join(repository, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			name, err := filepath.Rel(repository, path)
			if err != nil {
				t.Fatal(err)
			}
			text[name] = string(content)
		}
	}
	if len(text) < 4 {
		t.Fatalf("there are only %d pages", len(text))
	}
	return text
}

// anchors gives those that GitHub makes of a page's headings.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	for line := range strings.Lines(text) {
		if heading := strings.TrimLeft(line, "#"); heading != line && strings.HasPrefix(heading, " ") {
			name := punct.ReplaceAllString(strings.ToLower(strings.TrimSpace(heading)), "")
			found[strings.ReplaceAll(name, " ", "-")] = true
		}
	}
	return found
}

func TestTheDocumentationsLinksResolve(t *testing.T) {
	pages := pages(t)
	for page, text := range pages {
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			target := match[1]
			if strings.Contains(target, "://") {
				continue
			}
			file, anchor, _ := strings.Cut(target, "#")
			path := page
			if file != "" {
				path = filepath.Join(filepath.Dir(page), file)
			}
			if _, err := os.Stat(filepath.Join(repository, path)); err != nil {
				t.Errorf("%s: %s: %v", page, target, err)
			} else if anchor != "" && !anchors(pages[path])[anchor] {
				t.Errorf("%s: %s: %s has no such heading", page, target, path)
			}
		}
	}
}

func TestTheDocumentationsProseIsWrapped(t *testing.T) {
	for page, text := range pages(t) {
		n := 0
		for line := range strings.Lines(text) {
			n++
			line = strings.TrimRight(line, "\n")
			apart := strings.HasPrefix(line, "|") || strings.HasPrefix(line, "    ") || strings.HasPrefix(line, "<!--")
			if length := utf8.RuneCountInString(line); length > width && !apart {
				t.Errorf("%s:%d has %d columns", page, n, length)
			}
		}
	}
}
