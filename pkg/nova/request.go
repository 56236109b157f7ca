package nova

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gophercloud/gophercloud/v2"
)

// maxMessage caps what is taken over of an answer's error text, in bytes.
const maxMessage = 300

// request is one call of an API, below the API's root.
type request struct {
	op     string // for the error: "evacuate instance 6f0c…"
	method string
	path   string
	query  url.Values
	body   any
	out    any          // where the answer's JSON goes; nil where nobody reads it
	whole  func() bool  // whether out then has what such an answer always has; nil: nobody asks
	list   bool         // the answer may be as long as a page of a list
	most   microversion // the highest that will do; the zero value is any
}

// nova sends a request to Nova at the negotiated microversion, or the request's own.
func (c *Client) nova(ctx context.Context, r request) error {
	s, a, err := c.ready(ctx, r.op)
	if err != nil {
		return err
	}
	version := a.version
	if r.most != (microversion{}) && r.most.less(version) {
		version = r.most
	}
	err = c.send(ctx, s, a.base, map[string]string{
		"OpenStack-API-Version": "compute " + version.String(),
		// The older name is what a proxy or a middleware of old may still look at.
		"X-OpenStack-Nova-API-Version": version.String(),
	}, r)
	var e *Error
	if errors.As(err, &e) && e.Code == http.StatusNotAcceptable {
		// This nova-api is older than the one that was asked for its versions (a
		// rolling upgrade, or one taken back): ask again before the next request.
		c.api.CompareAndSwap(a, nil)
	}
	return err
}

// Ready makes sure that the next request is sent at once: a token is there, and the version is
// known. Its errors are ErrNotSent.
func (c *Client) Ready(ctx context.Context) error {
	_, _, err := c.ready(ctx, "prepare a request")
	return err
}

// ready makes sure of a token and of the version. Its errors are ErrNotSent.
func (c *Client) ready(ctx context.Context, op string) (*session, *api, error) {
	s, err := c.login(ctx, nil)
	if err != nil {
		return nil, nil, notSent(op, err)
	}
	a, err := c.negotiate(ctx, s)
	if err != nil {
		return nil, nil, notSent(op, err)
	}
	return s, a, nil
}

// placement sends a request to placement.
func (c *Client) placement(ctx context.Context, r request) error {
	s, err := c.login(ctx, nil)
	if err != nil {
		return notSent(r.op, err)
	}
	if s.placement == "" {
		return &Error{Op: r.op, Kind: ErrNotSent, Message: "the catalogue has no placement endpoint of this type and region"}
	}
	// 1.14 (Queens) is the first to name a provider's root.
	return c.send(ctx, s, s.placement, map[string]string{"OpenStack-API-Version": "placement 1.14"}, r)
}

// notSent is the error of a request for which already the preparation failed:
// whatever became of the token or of the version document, the request itself was
// not sent.
func notSent(op string, err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return &Error{Op: op, Kind: ErrNotSent, Message: err.Error()}
	}
	message := e.Message
	if e.Op != op {
		message = e.Op + ": " + message
	}
	return &Error{Op: op, Kind: ErrNotSent, Code: e.Code, Message: message}
}

func (c *Client) send(ctx context.Context, s *session, base string, headers map[string]string, r request) error {
	address := base + r.path
	if len(r.query) > 0 {
		address += "?" + r.query.Encode()
	}
	if r.list {
		ctx = allowList(ctx)
	}
	code, answer, err := c.exchange(ctx, s, r.op, r.method, address, headers, r.body)
	if err != nil || r.out == nil {
		return err
	}
	if err := json.Unmarshal(answer, r.out); err != nil {
		return &Error{Op: r.op, Kind: ErrAnswered, Code: code, Message: c.clean("the answer is not what Nova sends: " + err.Error())}
	}
	if r.whole != nil && !r.whole() {
		// To take it for an empty list would be to take instances for gone.
		return &Error{Op: r.op, Kind: ErrAnswered, Code: code, Message: "the answer is not what Nova sends: what was asked for is not in it"}
	}
	return nil
}

// exchange sends a request and, when the answer is 401 (so that nothing
// happened), gets a new token and sends it once more. There is no other retry, on
// purpose: only the caller can look whether a request took effect.
func (c *Client) exchange(ctx context.Context, s *session, op, method, address string, headers map[string]string, body any) (int, []byte, error) {
	code, answer, err := c.attempt(ctx, s, op, method, address, headers, body)
	if code != http.StatusUnauthorized {
		return code, answer, err
	}
	s, loginErr := c.login(ctx, s)
	if loginErr != nil {
		return code, nil, notSent(op, loginErr)
	}
	return c.attempt(ctx, s, op, method, address, headers, body)
}

// attempt sends a request exactly once and reads the whole answer. Where it
// fails, the error is an *Error that says how certain it is that nothing happened.
//
// "Exactly once" needs two facts about the libraries. gophercloud retries only
// through RetryFunc, RetryBackoffFunc and ReauthFunc, all nil here. net/http
// (shouldRetryRequest) sends a request again on another connection when the kept
// one turned out dead, but a PUT or a POST without an Idempotency-Key header only
// if not a byte of it had been written.
func (c *Client) attempt(ctx context.Context, s *session, op, method, address string, headers map[string]string, body any) (int, []byte, error) {
	// Up to GotConn (name resolution, dial, proxy, TLS) nothing of the request has
	// left this machine. From there on bytes may have, and whether they did is not
	// worth finding out: it counts as sent. GetConn comes again only when net/http
	// moves to another connection, for PUT and POST thus with nothing written yet.
	var mayBeSent atomic.Bool
	reqCtx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	reqCtx = httptrace.WithClientTrace(reqCtx, &httptrace.ClientTrace{
		GetConn: func(string) { mayBeSent.Store(false) },
		GotConn: func(httptrace.GotConnInfo) { mayBeSent.Store(true) },
	})

	start := time.Now()
	resp, err := s.provider.Request(reqCtx, method, address, &gophercloud.RequestOpts{
		JSONBody:         body,
		MoreHeaders:      headers,
		OkCodes:          []int{200, 201, 202, 203, 204},
		KeepResponseBody: true,
	})
	log := c.log.WithField("op", op).WithField("took", time.Since(start).Round(time.Millisecond).String())

	var answer gophercloud.ErrUnexpectedResponseCode
	switch {
	case errors.As(err, &answer):
		c.noteClock(s, address, answer.ResponseHeader)
		message, kind := verdict(answer.Actual, answer.Body)
		message = c.clean(c.redact(message, s.provider.Token()))
		log.WithField("code", answer.Actual).WithField("request_id", requestID(answer.ResponseHeader)).Debug("nova: " + message)
		return answer.Actual, nil, &Error{Op: op, Kind: kind, Code: answer.Actual, Message: message}
	case err != nil:
		kind := ErrNotSent
		if mayBeSent.Load() {
			kind = ErrUnknownOutcome
		}
		message := c.transportMessage(ctx, err)
		log.Debug("nova: no answer: " + message)
		return 0, nil, &Error{Op: op, Kind: kind, Message: message}
	}
	defer resp.Body.Close()
	c.noteClock(s, address, resp.Header)
	content, err := io.ReadAll(resp.Body)
	log.WithField("code", resp.StatusCode).WithField("request_id", requestID(resp.Header)).WithField("bytes", len(content)).Debug("nova: answered")
	if errors.Is(err, errTooLong) && method == http.MethodGet {
		return resp.StatusCode, nil, &Error{Op: op, Kind: ErrAnswered, Code: resp.StatusCode, Message: "the answer is not what Nova sends: " + err.Error()}
	}
	if err != nil && method == http.MethodGet {
		return 0, nil, &Error{Op: op, Kind: ErrUnknownOutcome, Message: "the answer broke off: " + c.transportMessage(ctx, err)}
	}
	// To a PUT or POST the status was all there is to know.
	return resp.StatusCode, content, nil
}

// requestID is the id under which Nova's log has the request.
func requestID(h http.Header) string { return h.Get("X-Openstack-Request-Id") }

// noteClock remembers how far Nova's clock is from ours. The header has whole
// seconds and is written just before the answer is sent: half a second is the
// middle.
func (c *Client) noteClock(s *session, address string, h http.Header) {
	if !strings.HasPrefix(address, originOf(s.compute)) {
		return // placement's clock is nobody's business
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		c.skew.Store(int64(time.Until(date.Add(time.Second / 2))))
	}
}

func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return u.Scheme + "://" + u.Host + "/"
}

// Refusal is the error that an answer other than success means.
func Refusal(op string, code int, body []byte) error {
	message, kind := verdict(code, body)
	return &Error{Op: op, Kind: kind, Code: code, Message: message}
}

// verdict says what an HTTP status other than success means, and gives the answer's
// own words.
func verdict(code int, body []byte) (message string, kind error) {
	fault, message := faultOf(body)
	if message == "" {
		message = http.StatusText(code)
	}
	if message == "" {
		message = "no explanation was given"
	}
	switch {
	case code == http.StatusUnauthorized, code == http.StatusTooManyRequests, code == http.StatusNotAcceptable:
		// Turned away before anything was done. 406 is an unknown microversion, which
		// the next request no longer asks for.
		return message, ErrNotSent
	case code == http.StatusNotFound && (fault == "itemNotFound" || fault == "errors"):
		return message, ErrNotFound
	case code == http.StatusNotFound:
		// Not Nova's own 404 but that of whatever answers at its address: it says
		// nothing about the instance.
		return "the answer is not Nova's own, is the endpoint right? " + message, ErrRefused
	case code == http.StatusBadRequest && strings.Contains(strings.ToLower(message), "still in use"):
		// ComputeServiceInUse: "Compute service of H is still in use."
		return message, ErrSourceInUse
	case code == http.StatusRequestTimeout:
		// A proxy's word about the connection, not Nova's about the request.
		return message, ErrUnknownOutcome
	case code < 500:
		return message, ErrRefused
	case code == http.StatusInternalServerError, code == http.StatusNotImplemented, code == http.StatusServiceUnavailable:
		return message, ErrAnswered
	default: // 502, 504: a proxy gave up waiting, Nova did not
		return message, ErrUnknownOutcome
	}
}

// faultOf takes the sentence out of an error body: Nova's
// {"badRequest": {"code": 400, "message": "…"}}, Keystone's {"error": {…}} or
// placement's {"errors": [{"detail": "…"}]}. name is the key, empty for anything
// else, such as a proxy's page.
func faultOf(body []byte) (name, message string) {
	var faults map[string]json.RawMessage
	if json.Unmarshal(body, &faults) != nil {
		return "", ""
	}
	for name, raw := range faults {
		type fault struct{ Message, Detail string }
		list := make([]fault, 1)
		if json.Unmarshal(raw, &list[0]) != nil && json.Unmarshal(raw, &list) != nil || len(list) == 0 {
			continue
		}
		if text := strings.TrimSpace(list[0].Message + list[0].Detail); text != "" {
			return name, text
		}
	}
	return "", ""
}

// transportMessage says in plain words why there was no answer.
func (c *Client) transportMessage(ctx context.Context, err error) string {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // without the address: the Op has what matters
	}
	var netErr net.Error
	switch {
	case ctx.Err() != nil:
		return "interrupted: " + context.Cause(ctx).Error()
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return fmt.Sprintf("no answer within %s", c.timeout)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was cut before the answer"
	}
	return c.clean(err.Error())
}

// redact removes our secrets from a text that came from outside: a server may
// quote what it was sent.
func (c *Client) redact(text, token string) string {
	for _, secret := range slices.Concat(c.secrets, spellings(token)) {
		text = strings.ReplaceAll(text, secret, "***")
	}
	return text
}

// spellings are the forms in which a server may quote a secret, the longest first: as it is,
// percent-encoded, in base64 and escaped as in JSON.
func spellings(secret string) []string {
	if secret == "" {
		return nil
	}
	escaped, _ := json.Marshal(secret) // a string always can be
	plain, query, path := []byte(secret), url.QueryEscape(secret), url.PathEscape(secret)
	all := []string{secret, query, path, lowerEscapes(query), lowerEscapes(path), string(escaped[1 : len(escaped)-1]),
		strings.ReplaceAll(secret, "/", `\/`), base64.StdEncoding.EncodeToString(plain), base64.RawStdEncoding.EncodeToString(plain),
		base64.URLEncoding.EncodeToString(plain), base64.RawURLEncoding.EncodeToString(plain)}
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	return slices.Compact(all)
}

// lowerEscapes writes the hexadecimal digits of a percent-encoded text small.
func lowerEscapes(text string) string {
	parts := strings.Split(text, "%")
	for i := 1; i < len(parts); i++ {
		parts[i] = strings.ToLower(parts[i][:2]) + parts[i][2:]
	}
	return strings.Join(parts, "%")
}

// clean makes one line of a text, without secrets or control characters and at most
// maxMessage bytes long.
func (c *Client) clean(text string) string {
	text = strings.Join(strings.FieldsFunc(c.redact(text, ""), func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	if len(text) <= maxMessage {
		return text
	}
	cut := maxMessage - len("…")
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}

// stamp is a time as Nova writes it: UTC, mostly without saying so.
type stamp struct{ time.Time }

func (t *stamp) UnmarshalJSON(raw []byte) error {
	if bytes.Equal(raw, []byte("null")) {
		return nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return err
	}
	for _, layout := range []string{"2006-01-02T15:04:05", time.RFC3339, "2006-01-02 15:04:05"} {
		if at, err := time.Parse(layout, text); err == nil {
			t.Time = at.UTC()
			return nil
		}
	}
	return fmt.Errorf("%q is not a time", text)
}
