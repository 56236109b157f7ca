// Package agents holds what the agents say of themselves to Pacemaker, crmsh
// and pcs.
package agents

import _ "embed"

// OCFMetadata describes ocf:openstack:nova-evacuate (resource-agents, ra-api-1.dtd).
//
//go:embed nova-evacuate.xml
var OCFMetadata string

// FenceMetadata describes fence_nova_evac (fence-agents, metadata.rng). Its `on` is
// automatic, so that Pacemaker skips it in the on-phase of a reboot and calls it
// when the node rejoins (Pacemaker, daemons/fenced/fenced_remote.c, op_phase_on).
//
//go:embed fence_nova_evac.xml
var FenceMetadata string

// GateMetadata describes ocf:openstack:nova-evac-gate.
//
//go:embed nova-evac-gate.xml
var GateMetadata string
