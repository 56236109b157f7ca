package cluster

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nova-evac/nova-evac/pkg/pacemaker"
)

// ErrUnavailable: Pacemaker does not answer on this node.
var ErrUnavailable = errors.New("cannot reach the cluster")

// agentSuffix ends the name under which our agent stands in crm_mon, whatever
// provider directory it was installed to.
const agentSuffix = ":nova-evacuate"

// Pacemaker asks the cluster that this machine is a full member of.
type Pacemaker struct {
	// Timeout bounds one call of a tool; 0 means pacemaker.Timeout.
	Timeout time.Duration
}

// View runs crm_mon, 15 ms.
func (p Pacemaker) View(ctx context.Context) (View, error) {
	out, err := p.run(ctx, "crm_mon", "--one-shot", "--output-as=xml", "--inactive")
	if err != nil {
		return View{}, err
	}
	return parse(out)
}

// NodeName is the cluster's name of this machine, which need not be its host name.
func (p Pacemaker) NodeName(ctx context.Context) (string, error) {
	out, err := p.run(ctx, "crm_node", "--name")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(out)), nil
}

func (p Pacemaker) run(ctx context.Context, name string, args ...string) ([]byte, error) {
	out, _, err := pacemaker.Run(ctx, p.Timeout, name, args...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return out, nil
}

// monitor is the part of crm_mon's XML (xml/api/crm_mon-2.*.rng) that is needed.
type monitor struct {
	DC struct {
		Present bool   `xml:"present,attr"`
		Quorum  string `xml:"with_quorum,attr"`
	} `xml:"summary>current_dc"`
	Options struct {
		Maintenance bool `xml:"maintenance-mode,attr"`
	} `xml:"summary>cluster_options"`
	Nodes []struct {
		Name    string `xml:"name,attr"`
		Online  bool   `xml:"online,attr"`
		Unclean bool   `xml:"unclean,attr"`
		Pending bool   `xml:"pending,attr"`
		Type    string `xml:"type,attr"`
	} `xml:"nodes>node"`
	Resources resources `xml:"resources"`
}

// resources nest: a clone or a group holds resources of its own.
type resources struct {
	Resource []struct {
		Agent string `xml:"resource_agent,attr"`
		On    []struct {
			Name string `xml:"name,attr"`
		} `xml:"node"`
	} `xml:"resource"`
	Clones  []resources `xml:"clone"`
	Groups  []resources `xml:"group"`
	Bundles []resources `xml:"bundle>replica"`
}

func parse(out []byte) (View, error) {
	var m monitor
	if err := xml.Unmarshal(out, &m); err != nil {
		return View{}, fmt.Errorf("%w: crm_mon printed no XML: %w", ErrUnavailable, err)
	}
	if len(m.Nodes) == 0 {
		return View{}, fmt.Errorf("%w: crm_mon lists no nodes", ErrUnavailable)
	}
	v := View{
		// Without a DC there is no attribute: the cluster is electing one, or this
		// node cannot see it. Either way it must not act.
		Quorum:      m.DC.Present && m.DC.Quorum == "true",
		Maintenance: m.Options.Maintenance,
		Nodes:       map[string]Node{},
		Supervisors: map[string]bool{},
	}
	for _, n := range m.Nodes {
		v.Nodes[n.Name] = Node{Online: n.Online, Unclean: n.Unclean, Pending: n.Pending, Remote: n.Type == "remote"}
	}
	m.Resources.supervisors(v.Supervisors)
	return v, nil
}

func (r resources) supervisors(on map[string]bool) {
	for _, res := range r.Resource {
		if strings.HasSuffix(res.Agent, agentSuffix) {
			for _, n := range res.On {
				on[n.Name] = true
			}
		}
	}
	for _, nested := range [][]resources{r.Clones, r.Groups, r.Bundles} {
		for _, inner := range nested {
			inner.supervisors(on)
		}
	}
}
