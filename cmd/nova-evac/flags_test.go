package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"

	"github.com/nova-evac/nova-evac/pkg/config"
	"github.com/nova-evac/nova-evac/pkg/evacuate"
)

func TestEachCommandOffersWhatTheTableSays(t *testing.T) {
	places := map[string]config.Place{
		"host": config.HostCommand | config.HostWork, "status": config.StatusCommand, "hold": config.HoldCommand, "resume": config.ResumeCommand,
		"admit": config.AdmitCommand, "forget": config.ForgetCommand, "gate": config.GateCommand, "supervise": config.SuperviseCommand,
	}
	for _, command := range commands() {
		t.Run(command.Name, func(t *testing.T) {
			var want, got []string
			for _, p := range config.Offered(places[command.Name]) {
				want = append(want, p.Name)
			}
			for _, flag := range command.Flags {
				name := strings.ReplaceAll(flag.Names()[0], "-", "_")
				if _, ok := flag.(*parameterFlag); ok {
					got = append(got, name)
				} else if len(config.Parameters(map[string]string{name: "given"})) > 0 {
					t.Errorf("--%s is a flag of the command's own, and %s is a parameter", flag.Names()[0], name)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheHelpOfAFlagShowsItsTrueDefault(t *testing.T) {
	for _, tt := range []struct {
		name string
		p    config.Parameter
		want string
	}{
		{"a number", config.Parameter{Name: "max_in_flight", Kind: config.Number, Default: "16", Value: "number", Short: "at once"}, "--max-in-flight NUMBER\tat once (default: 16)"},
		{"what holds otherwise", config.Parameter{Name: "records", Otherwise: "the CIB", Value: "file", Short: "a file"}, "--records FILE\ta file (default: the CIB)"},
		{"what can be given", config.Parameter{Name: "p", Kind: config.OneOf, Values: []string{"a", "b"}, Default: "a", Value: "word", Short: "which"}, "--p WORD\twhich: a, b (default: a)"},
		{"a switch that is off", config.Parameter{Name: "insecure", Kind: config.YesNo, Short: "trust all"}, "--insecure\ttrust all"},
		{"a switch that is on", config.Parameter{Name: "p", Kind: config.YesNo, Default: "yes", Short: "fence"}, "--p\tfence (default: yes; --p=no)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := newFlag(tt.p).String(); got != tt.want {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestASwitchStandsAloneOrIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want map[string]string
	}{
		{"not given", nil, map[string]string{}},
		{"alone, before a name", []string{"--p", "compute-1"}, map[string]string{"p": "true"}},
		{"refused", []string{"--p=no", "compute-1"}, map[string]string{"p": "no"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got map[string]string
			app := cli.App{Commands: []*cli.Command{{
				Name:   "c",
				Flags:  []cli.Flag{newFlag(config.Parameter{Name: "p", Kind: config.YesNo, Default: "yes"})},
				Action: func(c *cli.Context) error { got = given(c); return nil },
			}}}
			if err := app.Run(slices.Concat([]string{"app", "c"}, tt.args)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheEnginesDefaultsAreTheTables(t *testing.T) {
	cfg, _, err := config.Load(config.Sources{})
	if p := policy(cfg); err != nil || p.MaxInFlight != evacuate.DefaultPolicy.MaxInFlight || p.LeaveError || p.ResetStates != nil {
		t.Errorf("%+v, %v", p, err)
	}
}
