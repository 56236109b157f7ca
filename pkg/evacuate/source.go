package evacuate

// Source is what is known of the power of the host that is being evacuated. It decides
// whether anything may be sent from the host: Nova evacuates an instance whose guest runs
// there as readily as any other, and the guest then runs twice (seen on Nova 26.2).
type Source int

const (
	// SourceOff: nothing says that the host is on.
	SourceOff Source = iota
	// SourceGated: the host is on, and a gate that runs there holds its nova-compute back.
	SourceGated
	// SourceUnsure: there was a sign of life that may be none. Nothing is begun until it is
	// known.
	SourceUnsure
	// SourceOn: the host is on, and nothing attests that its nova-compute is held back.
	SourceOn
	// SourceRuns: its nova-compute was seen to run.
	SourceRuns
)

// Safe answers whether instances may be sent from the host: none that Nova has there can
// run there.
func (s Source) Safe() bool { return s == SourceOff || s == SourceGated }

// On answers whether the host is on, with nothing before its nova-compute.
func (s Source) On() bool { return s == SourceOn || s == SourceRuns }
