package cib

import (
	"bytes"
	"cmp"
	"context"
	"encoding/xml"
	"fmt"
	"strings"
	"time"

	"github.com/nova-evac/nova-evac/pkg/pacemaker"
	"github.com/nova-evac/nova-evac/pkg/record"
)

const (
	// setID is the cluster_property_set that holds the records, and nothing else.
	setID = "nova-evac"
	// namePrefix keeps a host's name apart from Pacemaker's own property names.
	namePrefix = "host-"
	idPrefix   = setID + "-" + namePrefix
)

// Pacemaker keeps records in the CIB of the cluster that this node belongs to.
type Pacemaker struct {
	// Timeout bounds one call of cibadmin; 0 means pacemaker.Timeout.
	Timeout time.Duration
	// Interval is how often Subscribe looks; 0 means one second. A look is one run
	// of cibadmin on this node's own copy, 8 ms.
	Interval time.Duration
	// Command is cibadmin; empty means the one in PATH.
	Command string
}

// Query reads this node's own copy of the CIB, as every query without a host does in
// Pacemaker 2 and 3 (parse_local_options in daemons/based; cibadmin's --local, which said
// so, does nothing since 3.0.0). A write of another node shows up as soon as Pacemaker has
// carried it here.
func (p Pacemaker) Query(ctx context.Context) ([]Stored, error) {
	out, code, err := p.run(ctx, "--query", "--xpath", "//cluster_property_set[@id='"+setID+"']")
	if code == pacemaker.ExitNoSuch {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("query the CIB: %w", err)
	}
	return parseSet(out)
}

// parseSet reads the property set as cibadmin prints it.
func parseSet(out []byte) ([]Stored, error) {
	var set struct {
		Pairs []struct {
			Name  string `xml:"name,attr"`
			Value string `xml:"value,attr"`
		} `xml:"nvpair"`
	}
	if err := xml.Unmarshal(out, &set); err != nil {
		return nil, fmt.Errorf("query the CIB: cibadmin printed no XML: %w", err)
	}
	records := []Stored{}
	for _, pair := range set.Pairs {
		if host, ours := strings.CutPrefix(pair.Name, namePrefix); ours {
			records = append(records, stored(host, pair.Value))
		}
	}
	sortByHost(records)
	return records, nil
}

// Create adds the record's nvpair by a modification whose XPath matches only while the
// nvpair does not exist: a plain cibadmin --create cannot add to an existing set.
func (p Pacemaker) Create(ctx context.Context, r record.Record) (Stored, error) {
	if err := record.CheckHost(r.Host); err != nil {
		return Stored{}, err
	}
	value, id := r.Encode(), idPrefix+r.Host
	set := fmt.Sprintf(`<cluster_property_set id="%s"><nvpair id="%s" name="%s" value="%s"/></cluster_property_set>`,
		setID, escape(id), escape(namePrefix+r.Host), escape(value))
	modify := []string{"--modify", "--xpath",
		"//cluster_property_set[@id='" + setID + "' and not(nvpair[@id=" + xpathLiteral(id) + "])]", "--xml-text", set}

	_, code, err := p.run(ctx, modify...)
	if code == pacemaker.ExitNoSuch { // there is no set yet, or a record of the host
		_, code, err = p.run(ctx, "--create", "--scope", "crm_config", "--xml-text", set)
		if code == pacemaker.ExitExists { // another host's record may have created the set meanwhile
			_, code, err = p.run(ctx, modify...)
		}
	}
	switch {
	case code == pacemaker.ExitNoSuch:
		return Stored{}, fmt.Errorf("create the record of host %s: %w", r.Host, ErrExists)
	case err != nil:
		return Stored{}, fmt.Errorf("create the record of host %s: %w", r.Host, err)
	}
	return stored(r.Host, value), nil
}

// Replace modifies the nvpair that an XPath with the whole old value finds. Every member
// carries out all writes in one order, corosync's, so this is a compare-and-swap (tried with
// 9 writers).
func (p Pacemaker) Replace(ctx context.Context, old Stored, r record.Record) (Stored, error) {
	value := r.Encode()
	id := idPrefix + old.Host
	_, code, err := p.run(ctx, "--modify", "--xpath",
		"//nvpair[@id="+xpathLiteral(id)+" and @value="+xpathLiteral(old.raw)+"]",
		"--xml-text", fmt.Sprintf(`<nvpair id="%s" value="%s"/>`, escape(id), escape(value)))
	switch {
	case code == pacemaker.ExitNoSuch:
		return Stored{}, fmt.Errorf("write the record of host %s: %w", old.Host, ErrConflict)
	case err != nil:
		return Stored{}, fmt.Errorf("write the record of host %s: %w", old.Host, err)
	}
	return stored(old.Host, value), nil
}

// Delete removes the nvpair that an XPath with the whole value finds. cibadmin exits with
// 0 even where it finds none (tried on Pacemaker 2.1 and 3.0), so the CIB is read afterwards:
// this node's own copy, in which a write stands when cibadmin returns from it.
func (p Pacemaker) Delete(ctx context.Context, old Stored) error {
	id := "//nvpair[@id=" + xpathLiteral(idPrefix+old.Host)
	_, code, err := p.run(ctx, "--delete", "--xpath", id+" and @value="+xpathLiteral(old.raw)+"]")
	if err == nil {
		_, code, err = p.run(ctx, "--query", "--xpath", id+"]")
		if err == nil {
			return fmt.Errorf("delete the record of host %s: %w", old.Host, ErrConflict)
		}
	}
	if code == pacemaker.ExitNoSuch {
		return nil
	}
	return fmt.Errorf("delete the record of host %s: %w", old.Host, err)
}

// Subscribe asks every Interval.
func (p Pacemaker) Subscribe(ctx context.Context) <-chan Update {
	interval := p.Interval
	if interval == 0 {
		interval = time.Second
	}
	return subscribe(ctx, p, interval)
}

// run calls cibadmin and returns its output and its exit code, -1 where there is none.
// Every failure is ErrUnavailable; callers look for two exit codes first.
func (p Pacemaker) run(ctx context.Context, args ...string) ([]byte, int, error) {
	out, code, err := pacemaker.Run(ctx, p.Timeout, cmp.Or(p.Command, "cibadmin"), args...)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return out, code, err
}

func escape(s string) string {
	var b bytes.Buffer
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		panic(err) // a bytes.Buffer does not fail
	}
	return b.String()
}

// xpathLiteral quotes s for XPath 1.0, which has no escapes inside a literal.
func xpathLiteral(s string) string {
	if !strings.Contains(s, "'") {
		return "'" + s + "'"
	}
	if !strings.Contains(s, `"`) {
		return `"` + s + `"`
	}
	return "concat('" + strings.ReplaceAll(s, "'", `',"'",'`) + "')"
}
