package fence

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/nova-evac/nova-evac/pkg/config"
)

// others are options of the command line that are no parameters here. The last two rows are
// those of other fence agents (fence-agents, lib/fencing.py.py) and of fence_compute; they
// are read and ignored.
var others = []option{
	{name: "help", letter: "h"}, {name: "version", letter: "V"}, {name: force}, {name: "nodename", hasValue: true},
	{name: "quiet", letter: "q"}, {name: "debug_file", letter: "D", hasValue: true}, {name: "password_script", letter: "S", hasValue: true},
	{name: "no_shared_storage"}, {name: "instance_filtering"}, {name: "disable_timeout"},
}

// force is the option by which somebody vouches for a host's being off.
const force = "force"

type option struct {
	name, letter string
	hasValue     bool
}

// options are all options of the command line, under each of their spellings.
func options() []option {
	known := slices.Clone(others)
	for _, p := range config.Offered(config.FenceAgent) {
		known = append(known, option{p.Name, p.Letter, p.Kind != config.YesNo})
		for _, s := range p.Spellings {
			known = append(known, option{name: s.Name, hasValue: p.Kind != config.YesNo})
		}
	}
	return known
}

// fromStdin reads parameters as Pacemaker gives them: name=value lines. Blank lines and
// comments are skipped, '-' and '_' are the same, one pair of double quotes around a value
// is removed, and the last of several values counts. An unknown name is no mistake there:
// Pacemaker adds names of its own.
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
// --action off. A person writes it, so an unknown option is a mistake: with --acton=status
// the action would be off.
func fromArgs(args []string) (map[string]string, error) {
	values := map[string]string{}
	known := options()
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		var value string
		var hasValue bool
		i := -1
		switch {
		case strings.HasPrefix(arg, "--"):
			var name string
			name, value, hasValue = strings.Cut(arg[2:], "=")
			i = slices.IndexFunc(known, func(o option) bool { return o.name == canonical(name) })
			arg = "--" + name
		case strings.HasPrefix(arg, "-") && len(arg) > 1:
			value, hasValue = arg[2:], len(arg) > 2
			arg = arg[:2]
			i = slices.IndexFunc(known, func(o option) bool { return o.letter == arg[1:] })
		default:
			return nil, fmt.Errorf("unexpected argument %q; --help lists the options", arg)
		}
		if i < 0 {
			return nil, fmt.Errorf("unknown option %q; --help lists the options", arg)
		}
		switch given := known[i]; {
		case hasValue:
		case given.hasValue && len(args) == 0:
			return nil, fmt.Errorf("option %s needs a value", arg)
		case given.hasValue:
			value, args = args[0], args[1:]
		default:
			value = "1"
		}
		values[known[i].name] = value
	}
	return values, nil
}
