package e2e

import (
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// examples loads both examples as they are shipped, each into a CIB of its own, on a
// node that has all agents: what pcs makes must be what crmsh makes.
func examples(t *testing.T, c *cluster) {
	load := func(example, cib string) map[string]bool {
		t.Helper()
		text, err := os.ReadFile("../../crm-examples/" + example)
		if err != nil {
			t.Fatal(err)
		}
		var commands string
		if strings.HasSuffix(example, ".sh") {
			// An empty CIB instead of the cluster's, and no cluster to push it to; nor does
			// crm_verify accept fencing levels for nodes that nobody has seen.
			script := string(text)
			for _, r := range [][2]string{{`pcs cluster cib "$cib"`, `cibadmin --empty >"$cib"`}, {"crm_verify", ": crm_verify"}, {"pcs cluster cib-push", ": cib-push"}} {
				if !strings.Contains(script, r[0]) {
					t.Fatalf("%s has no %q any more", example, r[0])
				}
				script = strings.Replace(script, r[0], r[1], 1)
			}
			text, commands = []byte(script), "sh /root/example "+cib
		} else {
			commands = fmt.Sprintf("cibadmin --empty >%s && CIB_file=%[1]s crm configure load update /root/example", cib)
		}
		encoded := base64.StdEncoding.EncodeToString(text)
		out, err := c.Exec(t.Context(), "ctl1", "bash", "-c", fmt.Sprintf("base64 -d <<<%s >/root/example && { %s; } >/root/said 2>&1 && cat %s || { cat /root/said >&2; false; }", encoded, commands, cib))
		if err != nil {
			t.Fatalf("%s: %v", example, err)
		}
		if warnings, err := c.Exec(t.Context(), "ctl1", "sh", "-c", "grep -i deprecat /root/said || :"); err != nil || warnings != "" {
			t.Errorf("%s: %s %v", example, warnings, err)
		}
		said, err := statements(out)
		if err != nil {
			t.Fatalf("%s: %v", example, err)
		}
		return said
	}
	crm, pcs := load("nova-evac.crm", "/root/crm.xml"), load("nova-evac.pcs.sh", "/root/pcs.xml")
	for said := range pcs {
		// pcs writes every operation that an agent's metadata advises, and what an
		// order's default actions are.
		if !crm[said] && (strings.Contains(said, " op ") || strings.Contains(said, "-action=start")) {
			delete(pcs, said)
		}
	}
	if len(crm) < 100 {
		t.Errorf("crmsh made only %d statements of its example", len(crm))
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(crm)), slices.Sorted(maps.Keys(pcs))); diff != "" {
		t.Errorf("-crmsh +pcs:\n%s", diff)
	}
}

// statements is what a CIB's configuration says, one line each, without the ids that
// the tools choose.
func statements(cib string) (map[string]bool, error) {
	said := map[string]bool{}
	decoder := xml.NewDecoder(strings.NewReader(cib))
	var path []string
	for {
		token, err := decoder.Token()
		if token == nil {
			if len(path) != 0 || len(said) == 0 {
				return nil, fmt.Errorf("not a CIB: %w", err)
			}
			return said, nil
		}
		switch e := token.(type) {
		case xml.EndElement:
			path = path[:len(path)-1]
		case xml.StartElement:
			attrs := map[string]string{}
			for _, a := range e.Attr {
				attrs[a.Name.Local] = a.Value
			}
			name := e.Name.Local
			switch name {
			case "primitive", "clone", "group":
				name = attrs["id"]
			case "rsc_location":
				name += " " + attrs["rsc"]
			case "fencing-level":
				name += " " + attrs["target"]
			case "nvpair":
				name = attrs["name"] + "=" + attrs["value"]
				said[strings.Join(path, " ")+" "+name] = true
				attrs = nil
			case "op":
				name = "op " + attrs["name"] + " " + strings.TrimSuffix(attrs["interval"], "s") // 0 is 0s
				delete(attrs, "interval")
			}
			path = append(path, name)
			if path[0] != "cib" || len(path) < 3 { // its own attributes are counters
				continue
			}
			if attrs["boolean-op"] == "and" { // the default, which pcs 0.12 writes
				delete(attrs, "boolean-op")
			}
			for key, value := range attrs {
				if key != "id" {
					said[strings.Join(path, " ")+" "+key+"="+value] = true
				}
			}
		}
	}
}
