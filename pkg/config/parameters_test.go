package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nova-evac/nova-evac/pkg/nova"
)

func TestParametersKnowsTheFieldsNames(t *testing.T) {
	tests := []struct {
		name         string
		given, known map[string]string
	}{
		{"a dash is an underscore", map[string]string{"auth-url": "a", "region-name": "r", "password-file": "/p"}, map[string]string{"auth_url": "a", "region_name": "r", "password_file": "/p"}},
		{"old names stand for new ones", map[string]string{"login": "u", "passwd": "p", "tenant-name": "t", "compute-domain": "d"}, map[string]string{"username": "u", "password": "p", "project_name": "t", "domain": "d"}},
		{"where both are given the new one counts", map[string]string{"login": "old", "username": "new", "tenant_name": "old", "project-name": "new"}, map[string]string{"username": "new", "project_name": "new"}},
		{"an empty value was not given", map[string]string{"username": "", "login": "u", "cloud": " "}, map[string]string{"username": "u"}},
		{"spaces around a value go, but not those of a password", map[string]string{"auth_url": " a ", "password": " p "}, map[string]string{"auth_url": "a", "password": " p "}},
		{"an unknown parameter is left out", map[string]string{"crm_feature_set": "3.16", "record-only": "1"}, map[string]string{"record_only": "1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.known, Parameters(tt.given)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEveryParameterHasOneDefinition(t *testing.T) {
	spellings, variables, letters := map[string]string{}, map[string]string{}, map[string]string{}
	once := func(seen map[string]string, what, of string) {
		if other, twice := seen[what]; twice {
			t.Errorf("%s stands for %s and for %s", what, other, of)
		}
		seen[what] = of
	}
	for _, p := range parameters {
		once(spellings, p.Name, p.Name)
		for _, s := range p.Spellings {
			once(spellings, s.Name, p.Name)
		}
		for _, variable := range p.Env {
			once(variables, variable, p.Name)
		}
		if p.Letter != "" {
			once(letters, p.Letter, p.Name)
		}
	}
	for name, rivals := range rivals {
		for _, rival := range append(rivals, name) {
			if spellings[rival] != rival {
				t.Errorf("%s is no parameter", rival)
			}
		}
	}
}

func TestEveryFieldOfAConfigIsFilledByOneParameter(t *testing.T) {
	var c Config
	filled := map[any]string{}
	for _, p := range parameters {
		if p.into == nil {
			continue
		}
		if other, twice := filled[p.into(&c)]; twice {
			t.Errorf("%s and %s fill the same field", other, p.Name)
		}
		filled[p.into(&c)] = p.Name
	}
	for _, of := range []reflect.Value{reflect.ValueOf(&c).Elem(), reflect.ValueOf(&c.Nova).Elem()} {
		for i := range of.NumField() {
			field := of.Type().Field(i).Name
			// These are the program's own.
			if _, found := filled[of.Field(i).Addr().Interface()]; !found && !slices.Contains([]string{"Nova", "UserAgent", "Dial", "Log"}, field) {
				t.Errorf("no parameter fills %s", field)
			}
		}
	}
}

func TestEveryDefinitionIsWhole(t *testing.T) {
	const commands = HostCommand | HostWork | StatusCommand | HoldCommand | ResumeCommand | AdmitCommand | ForgetCommand | GateCommand | SuperviseCommand
	for _, p := range parameters {
		t.Run(p.Name, func(t *testing.T) {
			if p.Short == "" || strings.HasSuffix(p.Short, ".") || !strings.HasSuffix(p.Long, ".") {
				t.Errorf("one line %q, sentence %q", p.Short, p.Long)
			}
			if (p.Value == "") == (p.In != 0 && p.Kind != YesNo) {
				t.Errorf("the word for its value is %q", p.Value)
			}
			if (p.Values == nil) == (p.Kind == OneOf || p.Kind == SomeOf) {
				t.Errorf("it can be any of %q", p.Values)
			}
			if p.Default != "" && p.Otherwise != "" {
				t.Error("it has a default, and words for where there is none")
			}
			if p.Kind == Password && p.In&commands != 0 {
				t.Error("a secret is offered on a command line")
			}
			if p.In&OCFAgent != 0 && p.In&SuperviseCommand == 0 && p.Kind != Password && p.Name != "log_file" {
				t.Error("the OCF agent has it, and supervise does not")
			}
			if p.into == nil {
				return
			}
			if err := p.fill(&Config{}, p.Default); err != nil {
				t.Error("its default cannot be read:", err)
			}
			want := map[Kind]any{Text: new(string), Password: new(Secret), YesNo: new(bool), Number: new(int), Seconds: new(time.Duration), OneOf: new(string), SomeOf: new([]string)}[p.Kind]
			if into := p.into(&Config{}); reflect.TypeOf(into) != reflect.TypeOf(want) {
				t.Errorf("it fills a %T, its kind needs a %T", into, want)
			}
		})
	}
	for _, value := range lookup("endpoint_type").Values {
		if _, err := nova.Endpoint(value); err != nil {
			t.Error(err)
		}
	}
}

func TestASwitchThatIsOnByDefaultCanBeSwitchedOff(t *testing.T) {
	p := Parameter{Name: "p", Kind: YesNo, Default: "yes", into: func(c *Config) any { return &c.Verbose }}
	for text, want := range map[string]bool{p.Default: true, "no": false, "0": false, "on": true} {
		var c Config
		if err := p.fill(&c, text); err != nil || c.Verbose != want {
			t.Errorf("%q gives %v, %v", text, c.Verbose, err)
		}
	}
}
