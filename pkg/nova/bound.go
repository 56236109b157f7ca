package nova

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
)

// How much of an answer is read, in bytes after decompression. A server that goes mad, or
// something else that answers in its place, must not take this process's memory.
const (
	// mostOfAnswer is for anything but a list: a catalogue of some hundred endpoints has
	// a hundred kilobytes.
	mostOfAnswer = 4 << 20
	// mostOfList is for one page of a list: 1000 instances with 32 kB of detail each.
	mostOfList = 32 << 20
	// mostItems is how many items one answer may list: 32 MB of {} would be gigabytes. Only
	// the records of a Nova before 2.59 come without pages.
	mostItems = 100_000
	// mostPages is how many pages a list may have: a million instances.
	mostPages = 1000
)

// errTooLong: the answer has more than may be read.
var errTooLong = errors.New("the answer is too long")

// mostKey is the key in a request's context of what may be read of the answer.
type mostKey struct{}

// bounded is a transport whose answers end with errTooLong. It stands outside of net/http's
// own, which has decompressed the answer already.
type bounded struct{ *http.Transport }

// RoundTrip sends one request.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.Transport.RoundTrip(r)
	if err == nil {
		most, given := r.Context().Value(mostKey{}).(int64)
		if !given {
			most = mostOfAnswer
		}
		resp.Body = &boundedBody{resp.Body, most, most}
	}
	return resp, err
}

type boundedBody struct {
	io.ReadCloser
	most, left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, fmt.Errorf("%w: more than %d MB", errTooLong, b.most>>20)
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1] // one more, to see whether there is more
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n - 1, fmt.Errorf("%w: more than %d MB", errTooLong, b.most>>20)
	}
	return n, err
}

// allowList lets an answer be as long as a page of a list.
func allowList(ctx context.Context) context.Context {
	return context.WithValue(ctx, mostKey{}, int64(mostOfList))
}

// items are a list in an answer; nil where the answer has none. They are taken in one by one,
// so that a list without an end is given up.
type items[T any] []T

// UnmarshalJSON reads a list.
func (l *items[T]) UnmarshalJSON(raw []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if start, err := decoder.Token(); err != nil || start != json.Delim('[') {
		return errors.New("there is something else in the place of a list")
	}
	list := items[T]{}
	for decoder.More() {
		if len(list) == mostItems {
			return fmt.Errorf("%w: more than %d items", errTooLong, mostItems)
		}
		var one T
		if err := decoder.Decode(&one); err != nil {
			return err
		}
		list = append(list, one)
	}
	*l = list
	return nil
}

// every reports whether the list is there, and all of its items are as they have to be.
func (l items[T]) every(is func(one T) bool) bool {
	return l != nil && !slices.ContainsFunc(l, func(one T) bool { return !is(one) })
}
