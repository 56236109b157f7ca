package fence

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/nova-evac/nova-evac/pkg/config"
)

// others are options of the fence agents' command line (fence-agents, lib/fencing.py.py)
// and of fence_compute that are no parameters here. They are read; all but help and version
// are ignored.
var others = []option{
	{name: "help", letter: "h"}, {name: "version", letter: "V"}, {name: "quiet", letter: "q"},
	{name: "debug_file", letter: "D", hasValue: true}, {name: "password_script", letter: "S", hasValue: true},
	{name: "no_shared_storage"}, {name: "instance_filtering"}, {name: "disable_timeout"},
}

type option struct {
	name, letter string
	hasValue     bool
}

// options are all options of the command line. An unknown long option is taken for another
// agent's, and has a value.
func options() []option {
	known := slices.Clone(others)
	for _, p := range config.Offered(config.FenceAgent) {
		known = append(known, option{p.Name, p.Letter, p.Kind != config.YesNo})
	}
	return known
}

// fromStdin reads parameters as Pacemaker gives them: name=value lines. Blank lines and
// comments are skipped, '-' and '_' are the same, one pair of double quotes around a value
// is removed, and the last of several values counts.
func fromStdin(r io.Reader) (map[string]string, error) {
	given := map[string]string{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, _ := strings.Cut(line, "=")
		value = strings.TrimSpace(value)
		if len(value) >= 2 && strings.HasPrefix(value, `"`) && strings.HasSuffix(value, `"`) {
			value = value[1 : len(value)-1]
		}
		given[canonical(name)] = value
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the parameters from standard input: %w", err)
	}
	return given, nil
}

func canonical(name string) string { return strings.ReplaceAll(strings.TrimSpace(name), "-", "_") }

// fromArgs reads parameters from a command line: -o off, -ooff, --action=off and
// --action off.
func fromArgs(args []string) (map[string]string, error) {
	given := map[string]string{}
	known := options()
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		var name, value string
		var hasValue, wantsValue bool
		switch {
		case strings.HasPrefix(arg, "--"):
			name, value, hasValue = strings.Cut(arg[2:], "=")
			name = canonical(name)
			i := slices.IndexFunc(known, func(o option) bool { return o.name == name })
			wantsValue = i < 0 || known[i].hasValue
		case strings.HasPrefix(arg, "-") && len(arg) > 1:
			i := slices.IndexFunc(known, func(o option) bool { return o.letter == arg[1:2] })
			if i < 0 {
				return nil, fmt.Errorf("unknown option -%s; --help lists the options", arg[1:2])
			}
			name, wantsValue = known[i].name, known[i].hasValue
			value, hasValue = arg[2:], len(arg) > 2
		default:
			return nil, fmt.Errorf("unexpected argument %q; --help lists the options", arg)
		}
		switch {
		case hasValue:
		case wantsValue && len(args) == 0:
			return nil, fmt.Errorf("option %s needs a value", arg)
		case wantsValue:
			value, args = args[0], args[1:]
		default:
			value = "1"
		}
		given[name] = value
	}
	return given, nil
}
