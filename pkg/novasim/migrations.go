package novasim

import (
	"time"

	"github.com/nova-evac/nova-evac/pkg/nova"
)

// Migration is the record of an evacuation, as Nova's database has it.
type Migration struct {
	ID   int
	UUID string
	// Instance is the id of the instance.
	Instance string
	// Source is the host that the instance is to leave. Dest is the host that was asked for,
	// if any, and later the one that has claimed the instance.
	Source, Dest string
	Status       nova.Status
	// Updated is zero until the first change.
	Created, Updated time.Time
}

// migration is a record and its instance.
type migration struct {
	Migration
	of *instance
}

// open reports whether a record says that its evacuation is under way.
func (m *migration) open() bool {
	return m.Status == nova.StatusAccepted || m.Status == nova.StatusPreMigrating
}

func (c *Cloud) set(m *migration, status nova.Status) { m.Status, m.Updated = status, c.now }

// Migrations gives the evacuation records from or to a host, or all where host is empty,
// oldest first. The records of a deleted instance are gone with it.
func (c *Cloud) Migrations(host string) []Migration {
	defer c.look()()
	var records []Migration
	for _, m := range c.migrations {
		if !m.of.deleted && (host == "" || host == m.Source || host == m.Dest) {
			records = append(records, m.Migration)
		}
	}
	return records
}
