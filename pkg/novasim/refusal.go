package novasim

import "fmt"

// Refusal is an answer of Nova's other than success. Every error of an operation that a
// client of Nova can ask for is one.
type Refusal struct {
	// Code is the HTTP status with which Nova says it.
	Code int
	// Message is Nova's own sentence.
	Message string
}

// Error is Nova's sentence.
func (r *Refusal) Error() string { return r.Message }

// Refuse makes a Refusal; the message is formatted as by fmt.Sprintf.
func Refuse(code int, format string, args ...any) error {
	return &Refusal{code, fmt.Sprintf(format, args...)}
}

// faultNames are Nova's names of errors (nova/api/openstack/wsgi.py, Fault); any
// other, 406 among them, is a computeFault.
var faultNames = map[int]string{400: "badRequest", 401: "unauthorized", 403: "forbidden", 404: "itemNotFound", 405: "badMethod",
	409: "conflictingRequest", 413: "overLimit", 415: "badMediaType", 429: "overLimit", 501: "notImplemented", 503: "serviceUnavailable"}

// Body is the body of Nova's answer, for encoding/json.
func (r *Refusal) Body() map[string]any {
	name := faultNames[r.Code]
	if name == "" {
		name = "computeFault"
	}
	return map[string]any{name: map[string]any{"code": r.Code, "message": r.Message}}
}
