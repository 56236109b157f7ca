package cluster

import (
	"context"
	"encoding/xml"
	"fmt"
	"strings"
	"time"
)

// Fencing is one success of Pacemaker's fencing history: a machine that was switched off,
// or off and on.
type Fencing struct {
	// Target is the cluster's name of the machine.
	Target    string
	Completed time.Time
}

// fenceTime bounds a fencing: Pacemaker's own bound, stonith-timeout, is a minute or a
// few for every device of every level.
const fenceTime = 10 * time.Minute

// history asks for the whole fencing history. Without --verbose there is one event of it, the
// oldest success (pcmk__fence_history in lib/pacemaker, the same in 2.1.5 and 3.0.2).
var history = []string{"--history", "*", "--verbose", "--output-as=xml"}

// Fencings reads the fencing history, which Pacemaker remembers for as long as a controller
// lives.
func (p Pacemaker) Fencings(ctx context.Context) ([]Fencing, error) {
	out, err := p.run(ctx, "stonith_admin", history...)
	if err != nil {
		return nil, err
	}
	return parseFencings(out)
}

// Fence has Pacemaker fence a node, and returns when it is off.
func (p Pacemaker) Fence(ctx context.Context, node string) error {
	p.Timeout = fenceTime
	_, err := p.run(ctx, "stonith_admin", "--fence", node)
	return err
}

func parseFencings(out []byte) ([]Fencing, error) {
	var result struct {
		Events []struct {
			Action    string `xml:"action,attr"`
			Target    string `xml:"target,attr"`
			Status    string `xml:"status,attr"`
			Completed string `xml:"completed,attr"`
		} `xml:"list>fence_event"`
	}
	if err := xml.Unmarshal(out, &result); err != nil {
		return nil, fmt.Errorf("%w: stonith_admin printed no XML: %w", ErrUnavailable, err)
	}
	var fencings []Fencing
	for _, e := range result.Events {
		if e.Status != "success" || e.Action != "off" && e.Action != "reboot" {
			continue
		}
		at, err := fencingTime(e.Completed)
		if err != nil {
			return nil, fmt.Errorf("%w: the fencing history: %w", ErrUnavailable, err)
		}
		fencings = append(fencings, Fencing{Target: e.Target, Completed: at})
	}
	return fencings, nil
}

// fencingTime reads what Pacemaker's timespec_string prints, with or without fractions:
// "2026-03-01 03:00:11 +01:00", "2026-03-01 03:00:11.123456Z".
func fencingTime(text string) (time.Time, error) {
	for _, zone := range []string{" +", " -"} {
		text = strings.Replace(text, zone, zone[1:], 1)
	}
	return time.Parse("2006-01-02 15:04:05Z07:00", text)
}
