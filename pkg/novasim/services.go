package novasim

import (
	"time"

	"github.com/nova-evac/nova-evac/pkg/nova"
)

// Service is a host's nova-compute as Nova has it, and the host's hypervisor.
type Service struct {
	// ID is the service's, and Number what its id was below microversion 2.53.
	ID     string
	Number int
	// Hypervisor is the id of the hypervisor, and of its resource provider.
	Hypervisor string
	Host       string
	// Up is Nova's view: forced_down decides, or else the age of the heartbeat.
	Up bool
	// Answers is true while nova-compute truly runs.
	Answers bool
	// Status is enabled or disabled, DisabledReason the text that came with it.
	Status         string
	DisabledReason string
	ForcedDown     bool
	// Updated is updated_at: a PUT moves it, and so do heartbeats.
	Updated time.Time
}

func (c *Cloud) service(h *host) Service {
	return Service{ID: h.id, Number: h.number, Hypervisor: h.hypervisor, Host: h.name, Up: c.up(h), Answers: h.compute, Status: h.status(),
		DisabledReason: h.reason, ForcedDown: h.forced, Updated: c.shown(h)}
}

// Services gives the nova-computes of all hosts, by the hosts' names.
func (c *Cloud) Services() []Service {
	defer c.look()()
	return c.services(c.hosts)
}

func (c *Cloud) services(hosts []*host) []Service {
	services := make([]Service, 0, len(hosts))
	for _, h := range hosts {
		services = append(services, c.service(h))
	}
	return services
}

// Allocations gives the hosts on which placement has set room aside for an instance: the
// source until nova-compute runs there again, and every destination that was chosen and did
// not fail.
func (c *Cloud) Allocations(id string) []Service {
	defer c.look()()
	var hosts []*host
	for _, h := range c.hosts {
		if h.allocated[id] {
			hosts = append(hosts, h)
		}
	}
	return c.services(hosts)
}

func (h *host) status() string {
	if h.enabled {
		return "enabled"
	}
	return "disabled"
}

// up is Nova's view of a service: forced_down decides, or else the age of the heartbeat
// (nova/servicegroup/api.py, service_is_up).
func (c *Cloud) up(h *host) bool {
	return !h.forced && (h.compute && !c.now.Before(h.firstBeat) || c.now.Sub(h.lastBeat) <= c.cfg.ServiceDownTime)
}

// firstBeat is how long after its start a nova-compute sends its first heartbeat
// (nova/servicegroup/drivers/db.py, join: initial_delay_override).
const firstBeat = 5 * time.Second

// beat is the last heartbeat of a host's nova-compute.
func (c *Cloud) beat(h *host) time.Time {
	if !h.compute || c.now.Before(h.firstBeat) {
		return h.lastBeat
	}
	return c.now.Add(-c.now.Sub(h.firstBeat) % c.cfg.ReportInterval)
}

func (c *Cloud) shown(h *host) time.Time {
	if beat := c.beat(h); beat.After(h.updated) {
		return beat
	}
	return h.updated
}

// ServiceChange is the body of PUT /os-services/{id} since 2.53; nil leaves a thing as it
// is.
type ServiceChange struct {
	// Status is enabled or disabled. Both replace the reason.
	Status         *string `json:"status"`
	DisabledReason *string `json:"disabled_reason"`
	ForcedDown     *bool   `json:"forced_down"`
}

// check refuses a change that is none of any service.
func (s ServiceChange) check() error {
	switch {
	case s.Status == nil && s.ForcedDown == nil:
		return Refuse(400, "No updates were requested. Fields 'status' or 'forced_down' should be specified.")
	case s.DisabledReason != nil && *s.DisabledReason == "":
		return Refuse(400, "Invalid input for field/attribute disabled_reason. Value: . '' is too short")
	case s.Status == nil:
		return nil
	case *s.Status == "enabled" && s.DisabledReason != nil:
		return Refuse(400, "Specifying 'disabled_reason' with status 'enabled' is invalid.")
	case *s.Status != "enabled" && *s.Status != "disabled":
		return Refuse(400, "Invalid input for field/attribute status. Value: %s. '%[1]s' is not one of ['enabled', 'disabled']", *s.Status)
	}
	return nil
}

// SetService changes the service of a host, as the update of
// nova/api/openstack/compute/services.py does, 2.53 on. Any true change moves updated_at
// (seen on Nova 26.2: it is no heartbeat).
func (c *Cloud) SetService(name string, change ServiceChange) error {
	defer c.lock()()
	h := c.host(name)
	if h == nil {
		return Refuse(404, "Service could not be found.")
	}
	if err := change.check(); err != nil {
		return err
	}
	if change.ForcedDown != nil && !*change.ForcedDown {
		if err := c.mayForceUp(h); err != nil {
			return err
		}
	}
	if change.Status != nil {
		h.enabled, h.reason = *change.Status == "enabled", ""
		if !h.enabled && change.DisabledReason != nil {
			h.reason = *change.DisabledReason
		}
	}
	if change.ForcedDown != nil {
		h.forced = *change.ForcedDown
	}
	h.updated = c.now
	return nil
}

// mayForceUp refuses for as long as an instance has left and the host's nova-compute has not
// started since. Nova does not ask whether the host was forced down before.
func (c *Cloud) mayForceUp(h *host) error {
	for _, m := range c.migrations {
		if m.Source == h.name && m.Status == nova.StatusDone && !m.of.deleted {
			return Refuse(400, "Unable to force up host %s as `done` evacuation migration records remain associated with the host. "+
				"Ensure the compute service has been restarted, allowing these records to move to `completed` before retrying this request.", h.name)
		}
	}
	return nil
}
