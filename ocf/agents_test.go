package agents

import (
	"encoding/xml"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nova-evac/nova-evac/pkg/config"
)

func TestTheMetadataListsWhatTheTableSays(t *testing.T) {
	for name, agent := range map[string]struct {
		place    config.Place
		metadata string
	}{
		"nova-evacuate":   {config.OCFAgent, OCFMetadata()},
		"nova-evac-gate":  {config.GateAgent, GateMetadata()},
		"fence_nova_evac": {config.FenceAgent, FenceMetadata()},
	} {
		t.Run(name, func(t *testing.T) {
			var listed struct {
				Name       string `xml:"name,attr"`
				Parameters []struct {
					Name    string `xml:"name,attr"`
					Content struct {
						Default string `xml:"default,attr"`
					} `xml:"content"`
				} `xml:"parameters>parameter"`
			}
			if err := xml.Unmarshal([]byte(agent.metadata), &listed); err != nil || listed.Name != name {
				t.Fatalf("%v: %s", err, agent.metadata)
			}
			var want, got [][2]string // name and default
			for _, p := range config.Offered(agent.place) {
				if p.Kind == config.YesNo {
					_, p.Default = content(p, agent.place)
				}
				for _, name := range p.Names(agent.place) {
					want = append(want, [2]string{name, p.Default})
				}
			}
			for _, p := range listed.Parameters {
				got = append(got, [2]string{p.Name, p.Content.Default})
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAnEntryTellsOfItsOtherNames(t *testing.T) {
	user := config.Parameter{Name: "username", Spellings: []config.Spelling{{Name: "login", As: config.Old}, {Name: "who", As: config.Silent}},
		Letter: "l", Value: "name", Short: "the user", Long: "The user & more."}
	project := config.Parameter{Name: "project_name", Spellings: []config.Spelling{{Name: "tenant_name", As: config.Equal}},
		Value: "name", Unique: true, Required: true, Short: "the project", Long: "The project."}
	for _, tt := range []struct {
		name  string
		p     config.Parameter
		agent config.Place
		want  []entry
	}{
		{"an old name is deprecated in the fence agent", user, config.FenceAgent, []entry{
			{Name: "username", Obsoletes: "login", Getopt: "-l, --username=[name]", Type: "string", Short: "The user", Long: "The user &amp; more."},
			{Name: "login", Deprecated: true, Getopt: "-l, --username=[name]", Type: "string", Short: "The user", Long: "The user &amp; more."},
		}},
		{"an equal name stands before it in both", project, config.OCFAgent, []entry{
			{Name: "tenant_name", Unique: 1, Required: 1, Getopt: "--tenant-name=[name]", Type: "string", Short: "The project", Long: "The project; project_name is the same."},
			{Name: "project_name", Unique: 1, Required: 1, Getopt: "--project-name=[name]", Type: "string", Short: "The project", Long: "The project; tenant_name is the same."},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, entriesOf(tt.p, tt.agent)); diff != "" {
				t.Error(diff)
			}
		})
	}
	if old := entriesOf(user, config.OCFAgent); slices.ContainsFunc(old, func(e entry) bool { return e.Name == "login" }) {
		t.Error("the OCF agent lists an old name")
	}
}

func TestTypesAndDefaultsAreThoseOfTheAgentsKind(t *testing.T) {
	for _, tt := range []struct {
		name       string
		p          config.Parameter
		ocf, fence [2]string
	}{
		{"a switch that is off", config.Parameter{Kind: config.YesNo}, [2]string{"boolean", "0"}, [2]string{"boolean", ""}},
		{"a switch that is on", config.Parameter{Kind: config.YesNo, Default: "yes"}, [2]string{"boolean", "1"}, [2]string{"boolean", "1"}},
		{"a time", config.Parameter{Kind: config.Seconds, Default: "5"}, [2]string{"integer", "5"}, [2]string{"second", "5"}},
		{"a number without a default", config.Parameter{Kind: config.Number}, [2]string{"integer", ""}, [2]string{"integer", ""}},
		{"one of some words", config.Parameter{Kind: config.OneOf, Default: "a"}, [2]string{"string", "a"}, [2]string{"string", "a"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for agent, want := range map[config.Place][2]string{config.OCFAgent: tt.ocf, config.FenceAgent: tt.fence} {
				if kind, value := content(tt.p, agent); kind != want[0] || value != want[1] {
					t.Errorf("%s, %q; expected %q", kind, value, want)
				}
			}
		})
	}
}
