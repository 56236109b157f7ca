package fence

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// short holds the one-letter options of the fence agents' command line (fence-agents,
// lib/fencing.py.py) and the parameters that they stand for; a colon means that
// the option takes a value.
var short = map[string]string{
	"o": "action:", "n": "plug:", "l": "username:", "p": "password:", "k": "auth_url:",
	"t": "tenant_name:", "d": "domain:", "e": "endpoint_type:", "v": "verbose", "h": "help", "V": "version",
	"q": "quiet", "D": "debug_file:", "u": "user_domain:", "P": "project_domain:", "S": "password_script:", "r": "record_only:",
}

// flags are the long options that take no value.
var flags = map[string]bool{"insecure": true, "verbose": true, "quiet": true, "help": true, "version": true,
	"no_shared_storage": true, "instance_filtering": true, "disable_timeout": true}

// fromStdin reads parameters as Pacemaker gives them: name=value lines, blank ones
// and comments left out, '-' and '_' the same, one pair of double quotes around
// the value removed, the last of several counts.
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
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		var name, value string
		var hasValue, wantsValue bool
		switch {
		case strings.HasPrefix(arg, "--"):
			name, value, hasValue = strings.Cut(arg[2:], "=")
			name = canonical(name)
			wantsValue = !flags[name]
		case strings.HasPrefix(arg, "-") && len(arg) > 1:
			var known bool
			if name, known = short[arg[1:2]]; !known {
				return nil, fmt.Errorf("unknown option -%s; --help lists the options", arg[1:2])
			}
			name, wantsValue = strings.CutSuffix(name, ":")
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
