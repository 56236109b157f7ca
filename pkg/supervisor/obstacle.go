package supervisor

import (
	"fmt"
	"strings"
	"time"

	"github.com/nova-evac/nova-evac/pkg/identity"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// obstacle is what stands in the way of something that is to be done for a host; nil:
// nothing does. Two obstacles that are the same are equal. Its words are for the record,
// and nothing is decided by them.
type obstacle interface{ String() string }

// What may stand in the way of a new evacuation.
type (
	// inMaintenance: the cluster is in maintenance mode.
	inMaintenance struct{}
	// tooLargeShare and tooManyDown: so many compute hosts are down that the hosts may not be
	// what is broken.
	tooLargeShare struct{ down, all, share int }
	tooManyDown   struct{ down, all, hosts int }
	// serviceMissing: Nova lacks live services without which no evacuation succeeds.
	serviceMissing struct{ names string }
)

func (inMaintenance) String() string { return "the cluster to leave its maintenance mode" }

func (o tooLargeShare) String() string {
	return fmt.Sprintf("hosts to come back: %d of %d compute hosts are down, more than storm_share=%d%% of them", o.down, o.all, o.share)
}

func (o tooManyDown) String() string {
	return fmt.Sprintf("hosts to come back: %d of %d compute hosts are down, more than storm_hosts=%d", o.down, o.all, o.hosts)
}

func (o serviceMissing) String() string { return fmt.Sprintf("a live %s in Nova", o.names) }

// heldHint says what an operator can do about a host that the guard holds.
func heldHint(host string) string {
	return "; 'nova-evac resume " + host + "' has it evacuated all the same"
}

// What may keep it from being known which of Nova's hosts a record is of.
type (
	// hostUnknown: Nova knows no such host. maybe is the one, if any, that has the node's name.
	hostUnknown struct{ host, maybe string }
	// hostAmbiguous: several hosts of Nova's fit.
	hostAmbiguous struct{ host, fitting, example string }
	// hostStale: the service that fits best was silent long before the fencing, another was not.
	hostStale struct{ record, host, id, since, other string }
	// hostEmpty: the only service that fits was silent long before the fencing, and has no
	// instances.
	hostEmpty struct{ record, host, since string }
	// hostMaybeTwice: another record may be of the same host.
	hostMaybeTwice struct{ host, record, other string }
)

// ambiguous is the obstacle that several hosts fit.
func ambiguous(m identity.Match) hostAmbiguous {
	names := m.Names()
	return hostAmbiguous{host: m.Name, fitting: strings.Join(names, ", "), example: names[0]}
}

// stale is the obstacle that the host may bear another name.
func stale(m identity.Match) hostStale {
	return hostStale{record: m.Name, host: m.Service.Host, id: m.Service.ID, since: silentSince(m), other: m.Names()[1]}
}

func silentSince(m identity.Match) string { return m.Service.Updated.UTC().Format(time.RFC3339) }

func (o hostUnknown) String() string {
	maybe := "NAME"
	if o.maybe != "" {
		maybe = o.maybe
	}
	return fmt.Sprintf("an operator to say which host it is: Nova knows no %s. 'nova-evac host %s' evacuates it under its name in Nova, "+
		"'nova-evac forget %[1]s' drops this record; then put the fence device's pcmk_host_map right", o.host, maybe)
}

func (o hostAmbiguous) String() string {
	return fmt.Sprintf("an operator to say which host it is: the name %s fits %s in Nova. 'nova-evac host %s', with the right one of them, evacuates it; then put the fence device's pcmk_host_map right",
		o.host, o.fitting, o.example)
}

func (o hostStale) String() string {
	return fmt.Sprintf("an operator to say which host it is: Nova has %s, silent since %s, and %s. If the second is meant, 'nova-evac host %[3]s' evacuates it, and 'openstack compute service delete %[4]s' ends the first; "+
		"if the first is meant, 'nova-evac resume %[5]s'", o.host, o.since, o.other, o.id, o.record)
}

func (o hostEmpty) String() string {
	return fmt.Sprintf("an operator to say which host it is: Nova has no instances on %s, which is silent since %s. If it has another name in Nova now, 'nova-evac host NAME' evacuates it, and 'nova-evac forget %[3]s' drops this record; "+
		"if this is the one, 'nova-evac resume %[3]s'", o.host, o.since, o.record)
}

func (o hostMaybeTwice) String() string {
	return fmt.Sprintf("an operator to say whether the record of %s is of this host, too. If it is, 'nova-evac host %s' makes them one; if not, 'nova-evac resume %s'", o.other, o.host, o.record)
}

// What may stand in the way of powering an evacuated host on.
type (
	// powerOnByHand: an operator powers the hosts on.
	powerOnByHand struct{ node string }
	// powerInMaintenance: the cluster is in maintenance mode.
	powerInMaintenance struct{}
	// queuedHere: an evacuation of another host may wait for this one as a message.
	queuedHere struct{ instance, source, host string }
)

func (o powerOnByHand) String() string {
	return fmt.Sprintf("an operator to power %s on: power_on=never", o.node)
}

func (powerInMaintenance) String() string {
	return "the cluster to leave its maintenance mode, for the host to be powered on"
}

func (o queuedHere) String() string {
	return fmt.Sprintf("instance %s to leave %s before this host is powered on: it was sent here before the host died; 'nova-evac admit %s' does not wait for it",
		o.instance, o.source, o.host)
}

// What may stand in the way of letting a host in.
type (
	// notListed: Nova does not list the host, or several that fit.
	notListed struct{ host string }
	// cellDown: the host's cell is down.
	cellDown struct{}
	// notMember: the host's node is no live member of the cluster.
	notMember struct{ node string }
	// notStarted: its nova-compute does not run.
	notStarted struct{ host string }
	// evacuationsOpen: evacuations from it are not completed in Nova.
	evacuationsOpen struct {
		host  string
		count int
		// ranMeanwhile is true where the host ran while they were sent; then some are the first
		// instances of them.
		ranMeanwhile bool
		some         [mostNamed]string
	}
	// sentHere: another host's evacuation has sent an instance here, and it is not settled.
	sentHere struct{ instance, source string }
	// notTold: Nova or placement did not answer what has to be known first.
	notTold struct{ question, answer string }
	// admitByHand: an operator lets the hosts in.
	admitByHand struct{ host string }
)

// mostNamed is how many instances a sentence names.
const mostNamed = 3

func (o notListed) String() string {
	return "Nova to list the host again; if that is gone for good, 'nova-evac forget " + o.host + "' drops this record"
}

func (cellDown) String() string { return "the host's cell, which Nova says is down" }

func (o notMember) String() string {
	return fmt.Sprintf("the cluster to have %s online again", o.node)
}

func (o notStarted) String() string { return "nova-compute to start on " + o.host }

// openEvacuations is the obstacle of these instances, whose evacuations are not completed.
func openEvacuations(host string, back record.Back, instances []string) evacuationsOpen {
	o := evacuationsOpen{host: host, count: len(instances), ranMeanwhile: back == record.BackRunning}
	if o.ranMeanwhile {
		copy(o.some[:], instances)
	}
	return o
}

func (o evacuationsOpen) String() string {
	restart := fmt.Sprintf("nova-compute to be restarted on %s: %d evacuations were not over when it started, and only its start completes them in Nova", o.host, o.count)
	if !o.ranMeanwhile {
		return restart
	}
	// It may have started the guests of the instances before they were sent.
	named := strings.Join(o.some[:min(o.count, mostNamed)], ", ")
	if o.count > mostNamed {
		named = fmt.Sprintf("%s and %d more", named, o.count-mostNamed)
	}
	return fmt.Sprintf("DANGER: guests of %s may run here and elsewhere; %s, and ends those guests", named, restart)
}

func (o sentHere) String() string {
	return fmt.Sprintf("instance %s of %s, which was sent here before the host died, to be sent elsewhere", o.instance, o.source)
}

func (o notTold) String() string {
	return fmt.Sprintf("an answer of Nova or placement to '%s': %s", o.question, o.answer)
}

func (o admitByHand) String() string {
	return "an operator's 'nova-evac admit " + o.host + "': the host is ready"
}
