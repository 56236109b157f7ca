// Package agents holds the agents' metadata for Pacemaker, crmsh and pcs. The texts are
// here; the parameters come from the table of package config.
package agents

import (
	"embed"
	"fmt"
	"strings"
	"text/template"

	"github.com/nova-evac/nova-evac/pkg/config"
)

//go:embed *.tmpl
var files embed.FS

// OCFMetadata describes ocf:openstack:nova-evacuate (resource-agents, ra-api-1.dtd).
func OCFMetadata() string { return metadata("nova-evacuate.xml.tmpl", config.OCFAgent) }

// GateMetadata describes ocf:openstack:nova-evac-gate.
func GateMetadata() string { return metadata("nova-evac-gate.xml.tmpl", config.GateAgent) }

// FenceMetadata describes fence_nova_evac (fence-agents, metadata.rng). Its `on` is not
// automatic: Pacemaker then calls it in the on-phase of a reboot, right after the power
// device's, so that nova-evac knows that the host is on again (Pacemaker,
// daemons/fenced/fenced_remote.c, op_phase_on).
func FenceMetadata() string { return metadata("fence_nova_evac.xml.tmpl", config.FenceAgent) }

func metadata(file string, agent config.Place) string {
	var entries []entry
	for _, p := range config.Offered(agent) {
		entries = append(entries, entriesOf(p, agent)...)
	}
	var text strings.Builder
	if err := template.Must(template.ParseFS(files, "*.tmpl")).ExecuteTemplate(&text, file, entries); err != nil {
		panic(err) // the files are the program's own, and the tests read them
	}
	return text.String()
}

// entry is one <parameter>, escaped for XML.
type entry struct {
	Name, Obsoletes  string
	Unique, Required int
	Deprecated       bool
	Getopt           string // the fence agents' command line
	Type, Default    string
	Short, Long      string
}

// entriesOf gives the entries of a parameter: one for each name that the agent lists.
func entriesOf(p config.Parameter, agent config.Place) []entry {
	var entries []entry
	for _, name := range p.Names(agent) {
		e := entry{Name: name, Getopt: getopt(p, name), Short: strings.ToUpper(p.Short[:1]) + p.Short[1:], Long: p.Long}
		e.Type, e.Default = content(p, agent)
		if p.Required {
			e.Required = 1
		}
		if p.Unique {
			e.Unique = 1
		}
		for _, s := range p.Spellings {
			switch {
			case s.As == config.Equal && name == p.Name:
				e.Long = strings.TrimSuffix(p.Long, ".") + "; " + s.Name + " is the same."
			case s.As == config.Equal:
				e.Long = strings.TrimSuffix(p.Long, ".") + "; " + p.Name + " is the same."
			case s.As == config.Old && name == p.Name:
				e.Obsoletes = s.Name
			case s.As == config.Old && name == s.Name:
				e.Deprecated, e.Getopt = true, getopt(p, p.Name)
			}
		}
		for _, text := range []*string{&e.Default, &e.Short, &e.Long} {
			*text = escape.Replace(*text)
		}
		entries = append(entries, e)
	}
	return entries
}

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;")

// content gives the type and the default of a parameter as the agent's kind of
// metadata has them: a fence agent's switch has a default only where it is on, and
// only fence agents have a type for seconds.
func content(p config.Parameter, agent config.Place) (kind, value string) {
	switch {
	case p.Kind == config.YesNo && p.Default == "yes":
		return "boolean", "1"
	case p.Kind == config.YesNo && agent == config.FenceAgent:
		return "boolean", ""
	case p.Kind == config.YesNo:
		return "boolean", "0"
	case p.Kind == config.Seconds && agent == config.FenceAgent:
		return "second", p.Default
	case p.Kind == config.Seconds || p.Kind == config.Number:
		return "integer", p.Default
	}
	return "string", p.Default
}

// getopt gives the options of a parameter as the fence agents' library writes them.
func getopt(p config.Parameter, name string) string {
	option := "--" + strings.ReplaceAll(name, "_", "-")
	if p.Letter != "" {
		option = fmt.Sprintf("-%s, %s", p.Letter, option)
	}
	if p.Kind != config.YesNo {
		option += fmt.Sprintf("=[%s]", p.Value)
	}
	return option
}
