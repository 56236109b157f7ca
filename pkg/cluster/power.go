package cluster

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nova-evac/nova-evac/pkg/pacemaker"
)

// Answer is what a machine on the network says of its power.
type Answer int

const (
	// NoAnswer: nothing answers. The machine is off, or cannot be reached.
	NoAnswer Answer = iota
	// Answers: its kernel answers. The machine is on, and may still be booting.
	Answers
	// Connectable: its pacemaker_remote takes connections.
	Connectable
)

// Gate is what the cluster knows of the gate on a node.
type Gate int

const (
	// NoGate: none says that it holds nova-compute back.
	NoGate Gate = iota
	// GateHeard: one has said so once. That may be what a gate that is gone has left.
	GateHeard
	// GateHolds: one lives and says so again and again.
	GateHolds
)

const (
	// answerTime bounds the wait for a machine to answer. One in the same network does in a
	// millisecond. Nothing is sent from a host before it was asked once.
	answerTime = 300 * time.Millisecond
	// remotePort is where pacemaker_remote listens unless told otherwise
	// (Pacemaker, DEFAULT_REMOTE_PORT).
	remotePort = "3121"
	// addressLife is for how long the addresses of remote nodes are believed.
	addressLife = time.Minute
	// leaseLook is for how long one look at the gates' leases serves all who ask.
	leaseLook = time.Second
	// leaseLife is for how long a gate is believed that does not say anything any more.
	// The agent of the gate says it at each monitor, every ten seconds.
	leaseLife = 30 * time.Second
)

// LeaseAttribute is the node attribute by which a gate attests that it holds nova-compute
// back. It is private, so that no change of it has the cluster compute a transition, and
// its value changes as long as the gate lives.
const LeaseAttribute = "nova-evac-gate-holds"

// Power is the cluster's hand on the power of compute hosts, and what can be seen of it.
// Make one with NewPower; it is safe for concurrent use.
type Power struct {
	pacemaker Pacemaker
	dial      func(ctx context.Context, address string) error
	now       func() time.Time

	mu        sync.Mutex
	addresses map[string]string // of the remote nodes, by name
	asked     time.Time
	leases    map[string]lease
	looked    time.Time
}

// lease is what a gate last said, since when it says that, and whether it has said
// something else before.
type lease struct {
	value string
	since time.Time
	twice bool
}

// NewPower is that of the cluster that this machine belongs to.
func NewPower(now func() time.Time) *Power {
	return &Power{dial: dial, now: now, leases: map[string]lease{}}
}

func dial(ctx context.Context, address string) error {
	conn, err := (&net.Dialer{Timeout: answerTime}).DialContext(ctx, "tcp", address)
	if err == nil {
		conn.Close()
	}
	return err
}

// On has a node powered on by the devices of its fencing level. A node that is on stays so.
func (p *Power) On(ctx context.Context, node string) error {
	return p.fencing(ctx, "--unfence", node)
}

// Off has a node fenced, and returns when it is off and its hook was called. Whatever the
// cluster's stonith-action is, it stays off: what is asked for by name is not remapped
// (seen on Pacemaker 2.1.5).
func (p *Power) Off(ctx context.Context, node string) error { return p.fencing(ctx, "--fence", node) }

func (p *Power) fencing(ctx context.Context, option, node string) error {
	tool := p.pacemaker
	tool.Timeout = fenceTime
	_, err := tool.run(ctx, "stonith_admin", option, node)
	return err
}

// Answer asks a remote node's machine whether it is on. Of a node that is none, or whose
// address nobody knows, there is no answer.
func (p *Power) Answer(ctx context.Context, node string) (Answer, error) {
	address, err := p.address(ctx, node)
	if err != nil || address == "" {
		return NoAnswer, err
	}
	switch err := p.dial(ctx, address); {
	case err == nil:
		return Connectable, nil
	case errors.Is(err, syscall.ECONNREFUSED):
		return Answers, nil
	}
	return NoAnswer, nil
}

// address is where a remote node's pacemaker_remote listens, empty for what is no remote
// node of the cluster.
func (p *Power) address(ctx context.Context, node string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.addresses == nil || p.now().Sub(p.asked) > addressLife {
		out, code, err := pacemaker.Run(ctx, 0, "cibadmin", "--query", "--xpath", "//primitive[@class='ocf' and @provider='pacemaker' and @type='remote']")
		if err != nil && code != pacemaker.ExitNoSuch {
			return "", fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if p.addresses, err = parseRemotes(out); err != nil {
			return "", err
		}
		p.asked = p.now()
	}
	return p.addresses[node], nil
}

// parseRemotes reads the addresses of remote nodes from their connection resources, which
// have the nodes' names.
func parseRemotes(out []byte) (map[string]string, error) {
	addresses := map[string]string{}
	err := elements(out, "primitive", func(decode func(any) error) error {
		var p struct {
			ID    string `xml:"id,attr"`
			Pairs []struct {
				Name  string `xml:"name,attr"`
				Value string `xml:"value,attr"`
			} `xml:"instance_attributes>nvpair"`
		}
		if err := decode(&p); err != nil {
			return err
		}
		server, port := p.ID, remotePort
		for _, pair := range p.Pairs {
			switch {
			case pair.Value == "":
			case pair.Name == "server" || pair.Name == "addr":
				server = pair.Value
			case pair.Name == "port":
				port = pair.Value
			}
		}
		addresses[p.ID] = net.JoinHostPort(server, port)
		return nil
	})
	return addresses, err
}

// elements reads every element of a name in what cibadmin printed, be it one or many.
func elements(out []byte, name string, read func(decode func(any) error) error) error {
	decoder := xml.NewDecoder(bytes.NewReader(out))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: cibadmin printed no XML: %w", ErrUnavailable, err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == name {
			if err := read(func(into any) error { return decoder.DecodeElement(into, &e) }); err != nil {
				return fmt.Errorf("%w: cibadmin printed no XML: %w", ErrUnavailable, err)
			}
		}
	}
}

// apartPrefix begins the id of a constraint by which a node is kept apart.
const apartPrefix = "nova-evac-off-"

// KeepApart keeps the cluster from connecting to a remote node that is off, by a location
// constraint on its connection resource: while the cluster tries, it shows the node as
// online, holds its transition up, and fences the node a second time when the start has
// timed out (seen on Pacemaker 2.1.5). A node whose connection is no resource is left as
// it is. A second call changes nothing.
func (p *Power) KeepApart(ctx context.Context, node string) error {
	address, err := p.address(ctx, node)
	if err != nil || address == "" {
		return err
	}
	id := apartPrefix + node
	_, code, err := pacemaker.Run(ctx, 0, "cibadmin", "--create", "--scope", "constraints", "--xml-text",
		fmt.Sprintf(`<rsc_location id="%s" rsc="%s"><rule id="%[1]s-rule" score="-INFINITY"><expression id="%[1]s-everywhere" attribute="#uname" operation="defined"/></rule></rsc_location>`, id, node))
	if err != nil && code != pacemaker.ExitExists {
		return fmt.Errorf("keep the cluster from connecting to %s: %w: %w", node, ErrUnavailable, err)
	}
	return nil
}

// Rejoin lets the cluster connect to a remote node again. What an operator has said about
// its resource stays as it is.
func (p *Power) Rejoin(ctx context.Context, node string) error {
	_, code, err := pacemaker.Run(ctx, 0, "cibadmin", "--delete", "--xml-text", fmt.Sprintf(`<rsc_location id="%s%s"/>`, apartPrefix, node))
	if err != nil && code != pacemaker.ExitNoSuch {
		return fmt.Errorf("let the cluster connect to %s: %w: %w", node, ErrUnavailable, err)
	}
	return nil
}

// Apart names the nodes that are kept apart.
func (p *Power) Apart(ctx context.Context) ([]string, error) {
	out, code, err := pacemaker.Run(ctx, 0, "cibadmin", "--query", "--xpath", "//rsc_location[starts-with(@id,'"+apartPrefix+"')]")
	if code == pacemaker.ExitNoSuch {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return parseApart(out)
}

func parseApart(out []byte) (nodes []string, err error) {
	err = elements(out, "rsc_location", func(decode func(any) error) error {
		var constraint struct {
			ID string `xml:"id,attr"`
		}
		if err := decode(&constraint); err != nil {
			return err
		}
		nodes = append(nodes, strings.TrimPrefix(constraint.ID, apartPrefix))
		return nil
	})
	return nodes, err
}

// Gate says what is known of the gate on a node. It is believed when it was heard twice,
// with something new to say, and for half a minute after the last time.
func (p *Power) Gate(ctx context.Context, node string) (Gate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if now.Sub(p.looked) >= leaseLook {
		out, code, err := pacemaker.Run(ctx, 0, "attrd_updater", "--name", LeaseAttribute, "--all", "--query")
		if err != nil && code != pacemaker.ExitConfig {
			return NoGate, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		p.looked = now
		p.hear(parseAttributes(out), now)
	}
	l, known := p.leases[node]
	switch {
	case !known || now.Sub(l.since) >= leaseLife:
		return NoGate, nil
	case !l.twice:
		return GateHeard, nil
	}
	return GateHolds, nil
}

// hear takes in what all gates say now.
func (p *Power) hear(values map[string]string, now time.Time) {
	heard := map[string]lease{}
	for node, value := range values {
		l, known := p.leases[node]
		if !known || l.value != value {
			l = lease{value, now, known}
		}
		heard[node] = l
	}
	p.leases = heard
}

// parseAttributes reads what attrd_updater --query prints: name="…" host="…" value="…",
// a line for each node (tools/attrd_updater.c).
func parseAttributes(out []byte) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(string(out)) {
		_, rest, _ := strings.Cut(line, `host="`)
		host, rest, found := strings.Cut(rest, `" value="`)
		value, _, ended := strings.Cut(rest, `"`)
		if found && ended && value != "" {
			values[host] = value
		}
	}
	return values
}

// AttestGate renews the lease of the gate on this node, or with holds false takes it back.
func AttestGate(ctx context.Context, holds bool, now time.Time) error {
	args := []string{"--name", LeaseAttribute, "--delete"}
	if holds {
		args = []string{"--name", LeaseAttribute, "--update", fmt.Sprint(now.UnixMilli()), "--private", "--delay", "0"}
	}
	if _, _, err := pacemaker.Run(ctx, 0, "attrd_updater", args...); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}
