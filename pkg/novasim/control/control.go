// Package control is the control API of the simulated cloud, below /control: the bodies that
// are no states of package novasim, and a client. Package api serves it.
package control

// Fault is trouble for requests. Of several faults that match a request the oldest strikes.
type Fault struct {
	// Match selects the requests that it strikes.
	Match Match `json:"match"`
	// Status is answered instead of doing anything.
	Status int `json:"status,omitempty"`
	// Cut closes the connection "before" or "after" the effect, without an answer.
	Cut string `json:"cut,omitempty"`
	// Latency delays the request, before its effect; Hang does so until the client
	// gives up, and there is no effect.
	Latency string `json:"latency,omitempty"`
	Hang    bool   `json:"hang,omitempty"`
	// Count is how many requests it strikes, 0 for any number; For how long it lasts;
	// Probability with which it strikes, 0 for always.
	Count       int     `json:"count,omitempty"`
	For         string  `json:"for,omitempty"`
	Probability float64 `json:"probability,omitempty"`
}

// Match selects requests.
type Match struct {
	// Kind is the kind of a request (see Kinds), or "*" or nothing for all.
	Kind string `json:"kind,omitempty"`
	// Path is a regular expression that the URL's path must match.
	Path string `json:"path,omitempty"`
}

// Kinds are the kinds of requests that are told apart and counted.
var Kinds = []string{"keystone", "version", "services", "service", "servers", "server", "delete", "evacuate", "action", "actions",
	"migrations", "hypervisors", "placement", "unknown"}

// Sent is one POST of an evacuation, successful or not.
type Sent struct {
	Instance string `json:"instance"`
	// At is when its effect came, or would have come, in nanoseconds since 1970.
	At int64 `json:"at"`
	// UserAgent and Remote are the client.
	UserAgent string `json:"user_agent"`
	Remote    string `json:"remote"`
	// Code is Nova's answer, even if it did not get through; 0 means that the request did
	// not reach Nova.
	Code int `json:"code"`
	// Answered is whether the answer was sent to the client.
	Answered bool `json:"answered"`
}

// Requests is an account of the requests to the cloud.
type Requests struct {
	// Counts are by kind (see Kinds), struck by faults or not.
	Counts map[string]int `json:"counts"`
	// Evacuations are all POSTs of evacuations, in the order of their effect.
	Evacuations []Sent `json:"evacuations"`
}

// Added is the answer to POST instances.
type Added struct {
	IDs []string `json:"ids"`
}

// NewHost is the body of POST hosts.
type NewHost struct {
	Name string `json:"name"`
}

// FaultAdded is the answer to POST faults.
type FaultAdded struct {
	ID int `json:"id"`
}

// Latency is the body of POST latency.
type Latency struct {
	// Base is a duration, as time.ParseDuration reads it.
	Base string `json:"base"`
}
