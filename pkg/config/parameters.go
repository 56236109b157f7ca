package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nova-evac/nova-evac/pkg/nova"
)

// Place is an agent or a command of the shell that offers parameters. A sum of places is a
// set of them.
type Place uint

// The places. HostWork is the command host where no supervisor runs, so that it does
// the work itself; where one does, the supervisor's own parameters count.
const (
	OCFAgent Place = 1 << iota
	GateAgent
	FenceAgent
	HostCommand
	HostWork
	StatusCommand
	HoldCommand
	ResumeCommand
	AdmitCommand
	ForgetCommand
	GateCommand
	SuperviseCommand
)

// Sets of places.
const (
	agents    = OCFAgent | FenceAgent
	asksNova  = HostCommand | AdmitCommand | ForgetCommand | GateCommand | SuperviseCommand
	findsHost = asksNova &^ GateCommand // by a name that Nova may know with a domain
	hasStore  = asksNova | StatusCommand | HoldCommand | ResumeCommand
	hasSocket = HostCommand | StatusCommand | SuperviseCommand
	evacuates = HostWork | SuperviseCommand
)

// Kind is how a parameter's text is read.
type Kind int

// The kinds.
const (
	Text     Kind = iota
	Password      // a text whose spaces count, and that no command line may hold
	YesNo         // 1, yes, on, true, or 0, no, off, false, in any case
	Number        // a whole number from 1 up
	Seconds       // a time above zero: seconds, or a number with a unit
	OneOf         // one of Parameter.Values, in any case
	SomeOf        // some of Parameter.Values, with spaces or commas between
)

// Parameter is the one definition of a parameter.
type Parameter struct {
	// Name is the parameter's name in the agents; as a flag it has dashes.
	Name string
	// Spellings are the other names that it is read under.
	Spellings []Spelling
	// Env are the environment variables that give it; the first that is set counts.
	Env []string
	// Letter is its option on the fence agent's command line, empty for none.
	Letter string
	// In is where it is offered.
	In Place

	// Kind is how its text is read, Values is what OneOf and SomeOf take.
	Kind   Kind
	Values []string
	// Most is the highest that a Number may be, 0 for no bound.
	Most int
	// Default is the text that counts where none is given. Where Default is empty,
	// Otherwise says in words for people what holds then.
	Default, Otherwise string
	// Required and Unique are the attributes of the agents' metadata.
	Required, Unique bool

	// Value is a word for what is given, for the place of the value in a help text.
	Value string
	// Short is its one line, without a full stop, Long its sentence.
	Short, Long string

	// into is the field of the Config that it fills, nil for none: a *string, *Secret,
	// *bool, *int, *time.Duration or *[]string, as its kind needs it.
	into func(*Config) any
}

// Spelling is another name that a parameter is read under.
type Spelling struct {
	Name string
	As   Standing
}

// Standing says how an agent's metadata lists a spelling.
type Standing int

// The standings. The agents list an Equal before the name itself, the fence agent
// lists an Old one behind it as deprecated; a Silent one is read and not listed.
const (
	Silent Standing = iota
	Equal
	Old
)

// parameters is the table. Its order is that of the metadata, of the help texts and
// of the documentation.
var parameters = []Parameter{
	{
		Name: "action", Letter: "o",
		In: FenceAgent, Default: "off", Value: "action",
		Short: "off, on, status, monitor, list, list-status, metadata or validate-all",
		Long:  "The fencing action: off, on, status, monitor, list, list-status, metadata or validate-all.",
	},
	{
		Name: "plug", Spellings: []Spelling{{"port", Old}}, Letter: "n",
		In: FenceAgent, Required: true, Value: "host",
		Short: "Nova's name of the host", Long: "Nova's name of the compute host.",
	},
	{
		Name: "auth_url", Env: []string{"OS_AUTH_URL"}, Letter: "k",
		In: agents | asksNova, Value: "url",
		Short: "Keystone's address", Long: "The address of Keystone, such as https://keystone:5000/v3, with or without /v3. Needed unless cloud names an entry of clouds.yaml.",
		into: func(c *Config) any { return &c.Nova.AuthURL },
	},
	{
		Name: "username", Spellings: []Spelling{{"login", Old}}, Env: []string{"OS_USERNAME"}, Letter: "l",
		In: agents | asksNova, Value: "name",
		Short: "the user", Long: "The user's name. The user needs the admin role: Nova lets no one else evacuate.",
		into: func(c *Config) any { return &c.Nova.Username },
	},
	{
		Name: "user_id", Env: []string{"OS_USER_ID"},
		Short: "the user, by id", Long: "The user's id, in the place of username.",
		into: func(c *Config) any { return &c.Nova.UserID },
	},
	{
		Name: "password", Spellings: []Spelling{{"passwd", Old}}, Env: []string{"OS_PASSWORD"}, Letter: "p",
		In: agents, Kind: Password, Value: "password",
		Short: "the password", Long: "The user's password. password_file keeps it out of the cluster's configuration.",
		into: func(c *Config) any { return &c.Nova.Password },
	},
	{
		Name: "password_file",
		In:   agents | asksNova, Value: "file",
		Short: "a file with the password", Long: "A file, on every controller, whose first line is the password.",
		into: func(c *Config) any { return &c.PasswordFile },
	},
	{
		Name: "project_name", Spellings: []Spelling{{"tenant_name", Equal}}, Env: []string{"OS_PROJECT_NAME", "OS_TENANT_NAME"}, Letter: "t",
		In: agents | asksNova, Value: "name",
		Short: "the project", Long: "The project's name.",
		into: func(c *Config) any { return &c.Nova.ProjectName },
	},
	{
		Name: "project_id", Spellings: []Spelling{{"tenant_id", Silent}}, Env: []string{"OS_PROJECT_ID", "OS_TENANT_ID"},
		Short: "the project, by id", Long: "The project's id, in the place of project_name.",
		into: func(c *Config) any { return &c.Nova.ProjectID },
	},
	{
		Name: "user_domain", Spellings: []Spelling{{"user_domain_name", Silent}}, Env: []string{"OS_USER_DOMAIN_NAME"}, Letter: "u",
		In: agents | asksNova, Default: nova.DefaultDomain, Value: "domain",
		Short: "the user's domain", Long: "The Keystone domain of the user.",
		into: func(c *Config) any { return &c.Nova.UserDomain },
	},
	{
		Name: "user_domain_id", Env: []string{"OS_USER_DOMAIN_ID"},
		Short: "the user's domain, by id", Long: "The id of the user's domain, in the place of user_domain.",
		into: func(c *Config) any { return &c.Nova.UserDomainID },
	},
	{
		Name: "project_domain", Spellings: []Spelling{{"project_domain_name", Silent}}, Env: []string{"OS_PROJECT_DOMAIN_NAME"}, Letter: "P",
		In: agents | asksNova, Default: nova.DefaultDomain, Value: "domain",
		Short: "the project's domain", Long: "The Keystone domain of the project.",
		into: func(c *Config) any { return &c.Nova.ProjectDomain },
	},
	{
		Name: "project_domain_id", Env: []string{"OS_PROJECT_DOMAIN_ID"},
		Short: "the project's domain, by id", Long: "The id of the project's domain, in the place of project_domain.",
		into: func(c *Config) any { return &c.Nova.ProjectDomainID },
	},
	{
		Name: "application_credential_id", Env: []string{"OS_APPLICATION_CREDENTIAL_ID"},
		Short: "an application credential", Long: "The id of an application credential, in the place of user and project.",
		into: func(c *Config) any { return &c.Nova.ApplicationCredentialID },
	},
	{
		Name: "application_credential_secret", Env: []string{"OS_APPLICATION_CREDENTIAL_SECRET"}, Kind: Password,
		Short: "the secret of the application credential", Long: "The secret of the application credential.",
		into: func(c *Config) any { return &c.Nova.ApplicationCredentialSecret },
	},
	{
		Name: "region_name", Env: []string{"OS_REGION_NAME"},
		In: agents | asksNova, Otherwise: "the only one", Value: "name",
		Short: "the region", Long: "The region, where the cloud has several.",
		into: func(c *Config) any { return &c.Nova.Region },
	},
	{
		Name: "endpoint_type", Env: []string{"OS_INTERFACE", "OS_ENDPOINT_TYPE"}, Letter: "e",
		In:   agents | asksNova,
		Kind: OneOf, Values: []string{"internalURL", "publicURL", "adminURL", "internal", "public", "admin"}, Default: "internalURL", Value: "type",
		Short: "the kind of endpoint", Long: "Which of Nova's addresses to use: internalURL, publicURL or adminURL, with or without URL.",
		into: func(c *Config) any { return &c.Nova.EndpointType },
	},
	{
		Name: "insecure", Env: []string{"OS_INSECURE"},
		In: agents | asksNova, Kind: YesNo,
		Short: "do not verify certificates", Long: "Whether to accept any TLS certificate.",
		into: func(c *Config) any { return &c.Nova.Insecure },
	},
	{
		Name: "cacert", Env: []string{"OS_CACERT"},
		In: agents | asksNova, Otherwise: "the system's", Value: "file",
		Short: "certificates of the authority", Long: "A file with the certificates of the cloud's certificate authority.",
		into: func(c *Config) any { return &c.Nova.CACert },
	},
	{
		Name: "cert", Env: []string{"OS_CERT"},
		Short: "a client certificate", Long: "A file with the TLS certificate to show to the cloud.",
		into: func(c *Config) any { return &c.Nova.ClientCert },
	},
	{
		Name: "key", Env: []string{"OS_KEY"},
		Short: "the client certificate's key", Long: "A file with the key of cert.",
		into: func(c *Config) any { return &c.Nova.ClientKey },
	},
	{
		Name: "cloud", Env: []string{"OS_CLOUD"},
		In: agents | asksNova, Value: "name",
		Short: "an entry of clouds.yaml", Long: "The entry of clouds.yaml (in /etc/openstack on every controller) that holds the credentials.",
		into: func(c *Config) any { return &c.Cloud },
	},
	{
		Name: "domain", Spellings: []Spelling{{"compute_domain", Silent}}, Letter: "d",
		In: agents | findsHost, Value: "domain",
		Short: "DNS domain of the compute hosts", Long: "The DNS domain of the compute hosts' names in Nova, where the cluster uses short ones.",
		into: func(c *Config) any { return &c.Domain },
	},
	{
		Name: "api_timeout",
		In:   agents | asksNova, Kind: Seconds, Default: strconv.Itoa(int(nova.DefaultTimeout / time.Second)), Value: "seconds",
		Short: "seconds for one request to Nova",
		Long:  "How many seconds one request to Nova may take, and how long one without an answer may still take effect: the longest time limit of the cloud's proxies and workers.",
		into:  func(c *Config) any { return &c.Nova.Timeout },
	},
	{
		// Read, and offered nowhere.
		Name:  "max_microversion",
		Short: "the highest microversion", Long: "The highest microversion of Nova's API that is used.",
		into: func(c *Config) any { return &c.Nova.MaxMicroversion },
	},
	{
		Name: "records",
		In:   agents | hasStore, Otherwise: "the CIB", Value: "file",
		Short: "a records file", Long: "Keep the records in this file instead of the cluster's CIB: for machines without a cluster, and for trying out.",
		into: func(c *Config) any { return &c.Records },
	},
	{
		Name: "verbose", Letter: "v",
		In: agents | evacuates, Kind: YesNo,
		Short: "log more", Long: "Whether to log debug lines, for developers.",
		into: func(c *Config) any { return &c.Verbose },
	},
	{
		Name: "max_in_flight",
		In:   OCFAgent | evacuates, Kind: Number, Default: "16", Value: "number",
		Short: "instances under way at once", Long: "How many instances of one host are evacuated at once.",
		into: func(c *Config) any { return &c.MaxInFlight },
	},
	{
		Name: "leave_error",
		In:   OCFAgent | evacuates, Kind: YesNo,
		Short: "leave instances in error", Long: "Whether instances that were in error when their host died are left. By default they are evacuated, and run afterwards.",
		into: func(c *Config) any { return &c.LeaveError },
	},
	{
		Name: "reset_states",
		In:   OCFAgent | evacuates, Kind: SomeOf, Values: []string{"paused", "rescued", "suspended"}, Otherwise: "none", Value: "states",
		Short: "states to reset before the evacuation",
		Long:  "Which of paused, suspended and rescued instances are reset to error: Nova evacuates them only then, and boots them on another host. Their memory is lost with their host in any case.",
		into:  func(c *Config) any { return &c.ResetStates },
	},
	{
		Name: "storm_share",
		In:   OCFAgent | SuperviseCommand, Kind: Number, Most: 100, Default: "50", Value: "percent",
		Short: "percent of hosts that may be down",
		Long:  "When more of the compute hosts than this many percent are down, no new evacuation begins until fewer are: most likely it is not the hosts that are broken. 100 is no bound.",
		into:  func(c *Config) any { return &c.StormShare },
	},
	{
		Name: "storm_hosts",
		In:   OCFAgent | SuperviseCommand, Kind: Number, Otherwise: "no bound", Value: "number",
		Short: "number of hosts that may be down", Long: "As storm_share, as a number of hosts. Empty is no bound.",
		into: func(c *Config) any { return &c.StormHosts },
	},
	{
		Name: "manual_return",
		In:   OCFAgent | SuperviseCommand, Kind: YesNo,
		Short: "let hosts in by hand only",
		Long:  "Whether a host that is on again, and ready, waits for an operator's 'nova-evac admit' instead of being enabled in Nova by itself.",
		into:  func(c *Config) any { return &c.ManualReturn },
	},
	{
		Name: "power_on",
		In:   OCFAgent | HostWork | SuperviseCommand, Kind: OneOf, Values: []string{PowerOnEvacuated, PowerOnNever}, Default: PowerOnEvacuated, Value: "when",
		Short: "when to power a fenced host on",
		Long:  "When a fenced host is powered on again by the cluster: evacuated, when its instances have left it; or never, then an operator does.",
		into:  func(c *Config) any { return &c.PowerOn },
	},
	{
		Name: "refence",
		In:   OCFAgent | HostWork | SuperviseCommand, Kind: YesNo, Default: "yes",
		Short: "fence a host again that is on too early",
		Long:  "Whether a host that is on before its instances have left it, with no gate before its nova-compute, is fenced again. This is done once. After that, and without it, instances that have not been sent are held until an operator decides.",
		into:  func(c *Config) any { return &c.Refence },
	},
	{
		Name: "host",
		In:   GateAgent | GateCommand, Otherwise: "the machine's own name", Value: "name",
		Short: "Nova's name of the host", Long: "Nova's name of the host. By default it is the machine's own.",
	},
	{
		Name: "state_dir",
		In:   OCFAgent | GateAgent | hasSocket, Unique: true, Default: "/run/nova-evac", Value: "directory",
		Short: "directory for socket and pid file", Long: "Where the supervisor keeps its control socket and its pid file, and the gate agent notes that it was started.",
	},
	{
		Name: "log_file",
		In:   OCFAgent, Unique: true, Default: "/var/log/nova-evac.log", Value: "file",
		Short: "the supervisor's log", Long: "The file that the supervisor logs to, besides syslog.",
	},
	{
		Name: "nova_timeout",
		In:   FenceAgent, Kind: Seconds, Default: "5", Value: "seconds",
		Short: "seconds that off may take in Nova", Long: "How many seconds off may take to tell Nova. The record is written first, and is enough: Nova being away never makes off fail.",
	},
	{
		Name: "on_wait",
		In:   FenceAgent, Kind: Seconds, Default: "0", Value: "seconds",
		Short: "seconds that on waits for the instances to leave", Long: "How many seconds on waits until nothing is left to evacuate. It holds up the whole cluster's next transition for that long.",
	},
	{
		Name: "record_only", Letter: "r",
		In: FenceAgent, Value: "mode",
		Short: "keep the device without effect", Long: "2, Disabled or disabled makes the device do nothing, as in fence_compute. Any other value changes nothing.",
	},
}

// Offered gives the parameters that a place offers, in the order of the table.
func Offered(in Place) []Parameter {
	return slices.DeleteFunc(slices.Clone(parameters), func(p Parameter) bool { return p.In&in == 0 })
}

// Default gives the text that counts where none is given for a parameter. It panics
// where there is no such parameter.
func Default(name string) string { return lookup(name).Default }

// lookup finds a parameter by its name, which the program's own text holds.
func lookup(name string) Parameter {
	for _, p := range parameters {
		if p.Name == name {
			return p
		}
	}
	panic("there is no parameter " + name)
}

// Names gives the names under which an agent lists the parameter, in order.
func (p Parameter) Names(agent Place) []string {
	var before, after []string
	for _, s := range p.Spellings {
		switch {
		case s.As == Equal:
			before = append(before, s.Name)
		case s.As == Old && agent == FenceAgent:
			after = append(after, s.Name)
		}
	}
	return slices.Concat(before, []string{p.Name}, after)
}

// names maps every spelling, with underscores, to the name of its parameter.
var names = func() map[string]string {
	names := map[string]string{}
	for _, p := range parameters {
		names[p.Name] = p.Name
		for _, s := range p.Spellings {
			names[s.Name] = p.Name
		}
	}
	return names
}()

// Parameters takes parameters as the field writes them and gives them under their
// own names. `-` and `_` are the same, as the fence agents have it, and other
// spellings (login, passwd, tenant_name, compute_domain) stand for the name; where
// both are given, the name counts. An empty value counts as not given. Unknown
// parameters are left out without an error: Pacemaker and other agents add parameters
// of their own.
func Parameters(given map[string]string) map[string]string {
	known := map[string]string{}
	for _, other := range []bool{false, true} { // first the names, then the other spellings
		for spelling, value := range given {
			spelling = strings.ReplaceAll(spelling, "-", "_")
			name, ours := names[spelling]
			if !ours || other != (spelling != name) || known[name] != "" {
				continue
			}
			if lookup(name).Kind != Password {
				value = strings.TrimSpace(value)
			}
			if value != "" {
				known[name] = value
			}
		}
	}
	return known
}

// environment reads the OS_* variables.
func environment(env func(string) string) map[string]string {
	found := map[string]string{}
	for _, p := range parameters {
		for _, variable := range p.Env {
			if value := env(variable); value != "" && found[p.Name] == "" {
				found[p.Name] = value
			}
		}
	}
	return found
}

// defaults are the weakest source.
func defaults() map[string]string {
	found := map[string]string{}
	for _, p := range parameters {
		if p.Default != "" {
			found[p.Name] = p.Default
		}
	}
	return found
}

// Duration reads the text of a parameter that is a time: a number of seconds
// ("60", "0.5") or a number with a unit ("60s", "2m"); empty is the default. The
// error names the parameter. It panics where there is no such parameter.
func Duration(name, text string) (time.Duration, error) {
	p := lookup(name)
	if text = strings.TrimSpace(text); text == "" {
		text = p.Default
	}
	return p.duration(text)
}

// fill reads text as the parameter's kind has it, and puts it into the field of the
// Config. Empty is nothing: "", no, 0. The error names the parameter and says what to
// give; the field is unchanged then.
func (p Parameter) fill(c *Config, text string) (err error) {
	switch into := p.into(c).(type) {
	case *string:
		if p.Kind == OneOf && text != "" {
			text, err = p.oneOf(text)
		}
		return set(into, text, err)
	case *Secret:
		*into = Secret(text)
		return nil
	case *bool:
		on, err := p.yesNo(text)
		return set(into, on, err)
	case *int:
		n, err := p.number(text)
		return set(into, n, err)
	case *time.Duration:
		d, err := p.duration(text)
		return set(into, d, err)
	case *[]string:
		some, err := p.someOf(text)
		return set(into, some, err)
	default:
		panic(fmt.Sprintf("parameter %s fills a %T", p.Name, into))
	}
}

func set[T any](into *T, value T, err error) error {
	if err == nil {
		*into = value
	}
	return err
}

func (p Parameter) yesNo(text string) (bool, error) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "1", "yes", "on", "true":
		return true, nil
	case "", "0", "no", "off", "false":
		return false, nil
	}
	return false, fmt.Errorf("%s is %q: give 1, yes, on, true, or 0, no, off, false", p.Name, text)
}

func (p Parameter) number(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	switch {
	case err == nil && n >= 1 && (p.Most == 0 || n <= p.Most):
		return n, nil
	case p.Most > 0:
		return 0, fmt.Errorf("%s is %q: give a whole number from 1 to %d", p.Name, text, p.Most)
	}
	return 0, fmt.Errorf("%s is %q: give a whole number from 1 up", p.Name, text)
}

// duration takes a time that is not above zero only where it is the default.
func (p Parameter) duration(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		d, err = time.ParseDuration(text + "s")
	}
	if err != nil || d <= 0 && text != p.Default {
		return 0, fmt.Errorf("%s is %q: give a time above zero in seconds, like 60, or with a unit, like 60s or 2m", p.Name, text)
	}
	return d, nil
}

func (p Parameter) oneOf(text string) (string, error) {
	for _, value := range p.Values {
		if strings.EqualFold(value, strings.TrimSpace(text)) {
			return value, nil
		}
	}
	return "", fmt.Errorf("%s is %q: give one of %s", p.Name, text, strings.Join(p.Values, ", "))
}

func (p Parameter) someOf(text string) ([]string, error) {
	var some []string
	for _, word := range strings.FieldsFunc(text, func(c rune) bool { return c == ' ' || c == ',' }) {
		value, err := p.oneOf(word)
		if err != nil {
			return nil, fmt.Errorf("%s: %q: give some of %s", p.Name, word, strings.Join(p.Values, ", "))
		}
		some = append(some, value)
	}
	return some, nil
}
