package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/nova-evac/nova-evac/pkg/config"
)

// parameterFlag is the flag of a parameter. Its value stays a text, which package config
// reads and checks like the text of any other source.
type parameterFlag struct {
	*cli.GenericFlag
	parameter config.Parameter
}

// parameterFlags gives the flags of a command: the flags of the parameters that it acts on,
// and its own.
func parameterFlags(in config.Place, own ...cli.Flag) []cli.Flag {
	var flags []cli.Flag
	for _, p := range config.Offered(in) {
		flags = append(flags, newFlag(p))
	}
	return append(flags, own...)
}

func newFlag(p config.Parameter) *parameterFlag {
	return &parameterFlag{&cli.GenericFlag{Name: flagName(p), Value: &text{p.Default, p.Kind == config.YesNo}}, p}
}

func flagName(p config.Parameter) string { return strings.ReplaceAll(p.Name, "_", "-") }

// given gathers the flags that were set, under the names of their parameters.
func given(c *cli.Context) map[string]string {
	set := map[string]string{}
	for _, flag := range c.Command.Flags {
		if f, ok := flag.(*parameterFlag); ok && c.IsSet(f.Name) {
			set[f.parameter.Name] = c.String(f.Name)
		}
	}
	return set
}

// TakesValue reports whether the next argument is the flag's value.
func (f *parameterFlag) TakesValue() bool { return f.parameter.Kind != config.YesNo }

// String is the flag's line in a help text. A switch that is off by default needs no
// mention of its default.
func (f *parameterFlag) String() string {
	p := f.parameter
	line := "--" + f.Name
	if f.TakesValue() {
		line += " " + strings.ToUpper(p.Value)
	}
	line += "\t" + p.Short
	if p.Values != nil {
		line += ": " + strings.Join(p.Values, ", ")
	}
	switch {
	case p.Kind == config.YesNo && p.Default == "yes":
		line += " (default: yes; --" + f.Name + "=no)"
	case p.Kind == config.YesNo:
	case p.Default != "":
		line += " (default: " + p.Default + ")"
	case p.Otherwise != "":
		line += " (default: " + p.Otherwise + ")"
	}
	return line
}

// text is the value of a parameterFlag; a switch may stand without one.
type text struct {
	text     string
	isSwitch bool
}

// Set keeps the text.
func (t *text) Set(s string) error {
	t.text = s
	return nil
}

// String gives the text, or the default.
func (t *text) String() string { return t.text }

// IsBoolFlag makes package flag pass "true" where no value is given.
func (t *text) IsBoolFlag() bool { return t.isSwitch }
