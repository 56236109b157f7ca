// Package agents holds what the agents say of themselves to Pacemaker, crmsh
// and pcs.
package agents

import _ "embed"

// OCFMetadata describes ocf:openstack:nova-evacuate (resource-agents, ra-api-1.dtd).
//
//go:embed nova-evacuate.xml
var OCFMetadata string

// FenceMetadata describes fence_nova_evac (fence-agents, metadata.rng). Its `on` is not
// automatic, so that Pacemaker calls it in the on-phase of a reboot, right after the power
// device's: a host that is on again must be known to be (Pacemaker,
// daemons/fenced/fenced_remote.c, op_phase_on).
//
//go:embed fence_nova_evac.xml
var FenceMetadata string

// GateMetadata describes ocf:openstack:nova-evac-gate.
//
//go:embed nova-evac-gate.xml
var GateMetadata string
