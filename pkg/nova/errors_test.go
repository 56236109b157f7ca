package nova

import (
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestWhatAnEvacuationsAnswerMeans(t *testing.T) {
	in := func(code int, name, message string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { fault(w, code, name, message) }
	}
	tests := []struct {
		name    string
		answer  http.HandlerFunc
		kind    error
		code    int
		message string
	}{
		{"200 with an empty body is accepted", says(""), nil, 0, ""},
		{"202 is accepted", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(202) }, nil, 0, ""},
		{"200 whose body breaks off is accepted", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "{")
			_ = http.NewResponseController(w).Flush()
			cut(w, r)
		}, nil, 0, ""},
		{"Nova's 404 is an instance that is gone", in(404, "itemNotFound", "Instance abc could not be found."), ErrNotFound, 404, "Instance abc could not be found."},
		{"a proxy's 404 says nothing about the instance", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>not here</html>", 404) }, ErrRefused, 404, "the answer is not Nova's own"},
		{"a gateway's JSON 404 says nothing about the instance", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, `{"message":"no Route matched"}`, 404) }, ErrRefused, 404, "not Nova's own"},
		{"400 still in use is a source that Nova takes for alive", in(400, "badRequest", "Compute service of compute-1 is still in use."), ErrSourceInUse, 400, "Compute service of compute-1 is still in use."},
		{"another 400 is a refusal", in(400, "badRequest", "The target host can't be the same one."), ErrRefused, 400, "The target host can't be the same one."},
		{"403 is a refusal", in(403, "forbidden", "Policy doesn't allow os_compute_api:os-evacuate to be performed."), ErrRefused, 403, "Policy"},
		{"409 is a refusal", in(409, "conflictingRequest", "Cannot 'evacuate' instance abc while it is in vm_state paused"), ErrRefused, 409, "vm_state paused"},
		{"429 did nothing", in(429, "overLimit", "Too many requests."), ErrNotSent, 429, "Too many requests."},
		{"406 did nothing", in(406, "computeFault", "Version 2.93 is not supported by the API."), ErrNotSent, 406, "not supported"},
		{"408 is a proxy's word about the connection", in(408, "error", "Request Timeout"), ErrUnknownOutcome, 408, "Request Timeout"},
		{"500 is over, with an unknown effect", in(500, "computeFault", "Unexpected API Error. <class 'oslo_messaging.exceptions.MessagingTimeout'>"), ErrAnswered, 500, "MessagingTimeout"},
		{"503 is over, with an unknown effect", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "<html>503</html>", http.StatusServiceUnavailable)
		}, ErrAnswered, 503, "Service Unavailable"},
		{"502 may still be under way", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }, ErrUnknownOutcome, 502, "Bad Gateway"},
		{"504 may still be under way", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(504) }, ErrUnknownOutcome, 504, "Gateway Timeout"},
		{"520, of which nobody knows, may still be under way", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(520) }, ErrUnknownOutcome, 520, "no explanation"},
		{"a connection cut before the answer may still be under way", cut, ErrUnknownOutcome, 0, "the connection was cut before the answer"},
		{"a redirect is a refusal and not followed", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, ErrRefused, 302, "Found"},
		{"a redirect that keeps the method is not followed either", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, ErrRefused, 307, "Temporary Redirect"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cloud := newCloud(t, tt.answer)
			err := cloud.client().Evacuate(t.Context(), "abc", "")
			if got := len(cloud.sent()); got != 1 {
				t.Errorf("%d requests reached Nova, want one: %v", got, cloud.sent())
			}
			if tt.kind == nil {
				if err != nil {
					t.Errorf("error %v, want none", err)
				}
				return
			}
			checkKind(t, err, tt.kind)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%T is no *Error", err)
			}
			if e.Code != tt.code || !strings.Contains(e.Message, tt.message) || e.Op != "evacuate instance abc" {
				t.Errorf("got %+v, want code %d and %q", *e, tt.code, tt.message)
			}
		})
	}
}

// checkKind wants an error to be of exactly one kind.
func checkKind(t *testing.T, err, want error) {
	t.Helper()
	for _, kind := range []error{ErrNotFound, ErrSourceInUse, ErrRefused, ErrNotSent, ErrAnswered, ErrUnknownOutcome} {
		if errors.Is(err, kind) != (kind == want) {
			t.Errorf("%v: is it %q? %v", err, kind, errors.Is(err, kind))
		}
	}
}

func TestAnAnswerThatTakesTooLongMayStillBeUnderWay(t *testing.T) {
	release := make(chan struct{})
	cloud := newCloud(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			<-release
		}
	})
	client := cloud.client(func(o *Options) { o.Timeout = 50 * time.Millisecond })
	err := client.Evacuate(t.Context(), "abc", "")
	close(release)
	checkKind(t, err, ErrUnknownOutcome)
	if !strings.Contains(err.Error(), "no answer within 50ms") {
		t.Error(err)
	}
}

func TestARequestThatIsInterruptedOnItsWayMayStillBeUnderWay(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	cloud := newCloud(t, func(http.ResponseWriter, *http.Request) { close(arrived); <-release })
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	err := cloud.client().Evacuate(ctx, "abc", "")
	close(release)
	checkKind(t, err, ErrUnknownOutcome)
}

func TestARequestThatNeverLeftIsNotSent(t *testing.T) {
	t.Run("when the context is over before it begins", func(t *testing.T) {
		cloud := newCloud(t, says(""))
		client := cloud.client()
		if err := client.Evacuate(t.Context(), "warm-up", ""); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		checkKind(t, client.Evacuate(ctx, "abc", ""), ErrNotSent)
		checkKind(t, cloud.client().Evacuate(ctx, "abc", ""), ErrNotSent)
		if got := len(cloud.sent()); got != 1 {
			t.Errorf("%d requests arrived, want the first one only", got)
		}
	})
	t.Run("when nothing listens at Keystone's address", func(t *testing.T) {
		client := newCloud(t, says("")).client(func(o *Options) { o.AuthURL = "http://" + deadAddress(t) })
		err := client.Evacuate(t.Context(), "abc", "")
		checkKind(t, err, ErrNotSent)
		if !strings.Contains(err.Error(), "authenticate at http://127.0.0.1:") || !strings.Contains(err.Error(), "connection refused") {
			t.Error(err)
		}
	})
	t.Run("when the name cannot be resolved", func(t *testing.T) {
		client := newCloud(t, says("")).client(func(o *Options) { o.AuthURL = "http://keystone.invalid:5000" })
		checkKind(t, client.Evacuate(t.Context(), "abc", ""), ErrNotSent)
	})
	t.Run("when nothing listens at Nova's address any more", func(t *testing.T) {
		cloud := newCloud(t, says(""))
		client := cloud.client()
		if err := client.Check(t.Context()); err == nil {
			t.Fatal("an empty answer to a list should not do")
		}
		dead := *client.session.Load()
		a := *client.api.Load()
		a.base = "http://" + deadAddress(t) + "/compute/v2.1/"
		client.session.Store(&dead)
		client.api.Store(&a)
		err := client.Evacuate(t.Context(), "abc", "")
		checkKind(t, err, ErrNotSent)
		if !strings.Contains(err.Error(), "connection refused") {
			t.Error(err)
		}
	})
	t.Run("when the TLS handshake fails", func(t *testing.T) {
		cloud := newCloud(t, says(""))
		client := cloud.client(func(o *Options) { o.AuthURL = strings.Replace(o.AuthURL, "http:", "https:", 1) })
		checkKind(t, client.Evacuate(t.Context(), "abc", ""), ErrNotSent)
	})
	t.Run("when Keystone is down", func(t *testing.T) {
		cloud := newCloud(t, says(""))
		cloud.login = func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusServiceUnavailable) }
		err := cloud.client().Evacuate(t.Context(), "abc", "")
		checkKind(t, err, ErrNotSent)
		if e := new(Error); !errors.As(err, &e) || e.Code != 503 {
			t.Errorf("%v lacks Keystone's code", err)
		}
	})
	t.Run("when Keystone hangs", func(t *testing.T) {
		release := make(chan struct{})
		cloud := newCloud(t, says(""))
		cloud.login = func(http.ResponseWriter, *http.Request) { <-release }
		err := cloud.client(func(o *Options) { o.Timeout = 50 * time.Millisecond }).Evacuate(t.Context(), "abc", "")
		close(release)
		checkKind(t, err, ErrNotSent)
		if !strings.Contains(err.Error(), "no answer within 50ms") {
			t.Error(err)
		}
	})
	t.Run("when Nova's version cannot be had", func(t *testing.T) {
		cloud := newCloud(t, says(""))
		cloud.max = "nonsense"
		err := cloud.client().Evacuate(t.Context(), "abc", "")
		checkKind(t, err, ErrNotSent)
	})
	t.Run("when the caller will not wait for Keystone", func(t *testing.T) {
		release, arrived := make(chan struct{}), make(chan struct{})
		cloud := newCloud(t, says(""))
		cloud.login = func(http.ResponseWriter, *http.Request) { close(arrived); <-release }
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-arrived; cancel() }()
		err := cloud.client().Evacuate(ctx, "abc", "")
		close(release)
		checkKind(t, err, ErrNotSent)
	})
}

func TestAKeptConnectionThatTheServerClosedIsNotUsedTwiceForOnePost(t *testing.T) {
	// The server reads the second request on the kept connection and cuts it: that is
	// what a server looks like that dies in the middle. net/http would send a GET
	// again; a POST must come once only, and count as unknown.
	cloud := newCloud(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "second") {
			cut(w, r)
		}
	})
	client := cloud.client()
	if err := client.Evacuate(t.Context(), "first", ""); err != nil {
		t.Fatal(err)
	}
	checkKind(t, client.Evacuate(t.Context(), "second", ""), ErrUnknownOutcome)
	if got := len(cloud.sent()); got != 2 {
		t.Errorf("%d POSTs arrived, want 2", got)
	}
}

func TestA401LeadsToOneNewTokenAndOneMoreTry(t *testing.T) {
	t.Run("and the request succeeds", func(t *testing.T) {
		cloud := newCloud(t, says(""))
		client := cloud.client()
		if err := client.Evacuate(t.Context(), "a", ""); err != nil {
			t.Fatal(err)
		}
		cloud.expire()
		if err := client.Evacuate(t.Context(), "b", ""); err != nil {
			t.Fatal(err)
		}
		if cloud.loginCount() != 2 {
			t.Errorf("%d logins, want 2", cloud.loginCount())
		}
		sent := cloud.sent()
		if len(sent) != 3 || sent[2].token != "token-2" || sent[2].body != sent[1].body {
			t.Errorf("sent %v", sent)
		}
	})
	t.Run("and a second 401 ends it", func(t *testing.T) {
		cloud := newCloud(t, func(w http.ResponseWriter, _ *http.Request) { fault(w, 401, "error", "no") })
		err := cloud.client().Evacuate(t.Context(), "a", "")
		checkKind(t, err, ErrNotSent)
		if cloud.loginCount() != 2 || len(cloud.sent()) != 2 {
			t.Errorf("%d logins, %d requests, want 2 and 2", cloud.loginCount(), len(cloud.sent()))
		}
	})
	t.Run("and credentials that stopped working are not sent at all", func(t *testing.T) {
		cloud := newCloud(t, says(""))
		client := cloud.client()
		if err := client.Evacuate(t.Context(), "a", ""); err != nil {
			t.Fatal(err)
		}
		cloud.expire()
		cloud.login = func(w http.ResponseWriter, _ *http.Request) {
			fault(w, 401, "error", "The request you have made requires authentication.")
		}
		err := client.Evacuate(t.Context(), "b", "")
		checkKind(t, err, ErrNotSent)
		if !strings.Contains(err.Error(), "requires authentication") {
			t.Error(err)
		}
	})
	t.Run("which many requests share", func(t *testing.T) {
		cloud := newCloud(t, says(""))
		client := cloud.client()
		for round := 1; round <= 3; round++ {
			var wg sync.WaitGroup
			for i := range 32 {
				wg.Go(func() {
					if err := client.Evacuate(context.Background(), fmt.Sprint(i), ""); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if cloud.loginCount() != round {
				t.Errorf("%d logins after %d rounds", cloud.loginCount(), round)
			}
			cloud.expire()
		}
	})
}

func TestOneCallersImpatienceDoesNotFailTheOthers(t *testing.T) {
	cloud := newCloud(t, says(""))
	arrived, release := make(chan struct{}), make(chan struct{})
	cloud.login = func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		cloud.valid["token-x"] = true
		w.Header().Set("X-Subject-Token", "token-x")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"token":{"catalog":[{"type":"compute","endpoints":[{"interface":"internal","url":"`+cloud.server.URL+`/compute/v2.1"}]}]}}`)
	}
	client := cloud.client()
	ctx, cancel := context.WithCancel(t.Context())
	first, second := make(chan error), make(chan error)
	go func() { first <- client.Evacuate(ctx, "a", "") }()
	<-arrived
	go func() { second <- client.Evacuate(context.Background(), "b", "") }()
	cancel()
	checkKind(t, <-first, ErrNotSent)
	close(release)
	if err := <-second; err != nil {
		t.Error(err)
	}
}

func TestNoErrorAndNoLogLineShowsASecret(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(400)
		fmt.Fprintf(w, `{"badRequest":{"code":400,"message":"you sent %s and %s"}}`, r.Header.Get("X-Auth-Token"), thePassword)
	}
	t.Run("when Nova quotes them", func(t *testing.T) {
		cloud := newCloud(t, echo)
		client := cloud.client()
		err := client.Evacuate(t.Context(), "a", "")
		noSecretIn(t, "the error", fmt.Sprintf("%v %+v %#v", err, err, err))
		_, err = client.Services(t.Context())
		noSecretIn(t, "the error", fmt.Sprintf("%v %+v %#v", err, err, err))
		noSecretIn(t, "the log", cloud.log.String())
	})
	t.Run("when Keystone quotes them", func(t *testing.T) {
		cloud := newCloud(t, says(""))
		cloud.login = func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(400)
			fmt.Fprintf(w, `{"error":{"code":400,"message":%q}}`, "Invalid input: "+cloud.loginBody)
		}
		err := cloud.client().Evacuate(t.Context(), "a", "")
		if !strings.Contains(cloud.loginBody, thePassword) {
			t.Fatal("the test proves nothing: Keystone did not get the password")
		}
		noSecretIn(t, "the error", fmt.Sprintf("%v %+v %#v", err, err, err))
		noSecretIn(t, "the log", cloud.log.String())
	})
	t.Run("when the answers cannot be read", func(t *testing.T) {
		cloud := newCloud(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, thePassword) })
		cloud.login = nil
		_, err := cloud.client().Services(t.Context())
		noSecretIn(t, "the error", fmt.Sprintf("%v %+v %#v", err, err, err))
	})
	t.Run("when auth_url holds one", func(t *testing.T) {
		cloud := newCloud(t, says(""))
		o := cloud.options()
		o.AuthURL = "http://user:" + thePassword + "@" + deadAddress(t)
		client, err := Connect(o)
		if err != nil {
			t.Fatal(err)
		}
		err = client.Check(t.Context())
		noSecretIn(t, "the error", err.Error())
		o.AuthURL = "ftp://user:" + thePassword + "@host"
		_, err = Connect(o)
		noSecretIn(t, "the error", err.Error())
	})
	t.Run("when the options are printed", func(t *testing.T) {
		o := newCloud(t, says("")).options()
		o.Log = nil
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
			noSecretIn(t, verb, fmt.Sprintf(verb, o))
			noSecretIn(t, verb, fmt.Sprintf(verb, o.Password))
		}
	})
}

func TestAnErrorIsOneLineOfBoundedLength(t *testing.T) {
	cloud := newCloud(t, func(w http.ResponseWriter, _ *http.Request) {
		fault(w, 500, "computeFault", "Unexpected\n  API\tError "+strings.Repeat("é", 1000))
	})
	err := cloud.client().Evacuate(t.Context(), "a", "")
	var e *Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	if len(e.Message) > 300 || !strings.HasPrefix(e.Message, "Unexpected API Error é") || !strings.HasSuffix(e.Message, "é…") {
		t.Errorf("%d bytes: %q", len(e.Message), e.Message)
	}
}

func TestAListThatBreaksOffIsNotAList(t *testing.T) {
	cloud := newCloud(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"servers": [`)
		_ = http.NewResponseController(w).Flush()
		cut(w, r)
	})
	_, err := cloud.client().Servers(t.Context(), "h")
	checkKind(t, err, ErrUnknownOutcome)
}

func TestAListThatIsNoJSONIsAnAnswerOfNoUse(t *testing.T) {
	_, err := newCloud(t, says("<html>welcome</html>")).client().Servers(t.Context(), "h")
	checkKind(t, err, ErrAnswered)
}

func TestAnAnswerOfTheWrongFormIsNoAnswer(t *testing.T) {
	calls := map[string]func(*Client) error{
		"services":    func(c *Client) error { _, err := c.Services(context.Background()); return err },
		"missing":     func(c *Client) error { _, err := c.Missing(context.Background()); return err },
		"servers":     func(c *Client) error { _, err := c.Servers(context.Background(), "h"); return err },
		"rebuilding":  func(c *Client) error { _, err := c.Rebuilding(context.Background(), "h"); return err },
		"evacuations": func(c *Client) error { _, err := c.Evacuations(context.Background(), "h", time.Time{}); return err },
		"server":      func(c *Client) error { _, err := c.Server(context.Background(), "a"); return err },
		"allocations": func(c *Client) error { _, err := c.Destinations(context.Background(), "a"); return err },
		"actions":     func(c *Client) error { _, err := c.Actions(context.Background(), "a"); return err },
	}
	for _, text := range []string{`{}`, `null`, `[]`, `"no"`, ``, `{"services": null, "servers": null, "migrations": null, "allocations": null, "instanceActions": null}`,
		`{"services": {}, "servers": {}, "migrations": {}, "server": {}, "allocations": [], "instanceActions": {}}`,
		`{"services": [{}], "servers": [{}], "migrations": [{}], "server": {"id": ""}, "allocations": 7, "instanceActions": 7}`,
		`{"services": [null], "servers": [null], "migrations": [null], "server": null, "allocations": "", "instanceActions": ""}`} {
		client := newCloud(t, says(text)).client()
		for name, call := range calls {
			if name == "missing" && strings.Contains(text, "[{}]") || name == "missing" && strings.Contains(text, "[null]") {
				continue // a list without the two, which says that they are missing
			}
			t.Run(name+" "+text, func(t *testing.T) { checkKind(t, call(client), ErrAnswered) })
		}
	}
}

func TestAnAnswerWithoutAnEndTakesNeitherMemoryNorTime(t *testing.T) {
	long := func(start string, more string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, start)
			for range (mostOfList + mostOfList/8) / (1 << 16) {
				if _, err := io.WriteString(w, strings.Repeat(more, 1<<16/len(more))); err != nil {
					return
				}
			}
		}
	}
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		call   func(*Client) error
		kind   error
		says   string
	}{
		{"a list", long(`{"services": [`, " "), func(c *Client) error { _, err := c.Services(t.Context()); return err }, ErrAnswered, "more than 32 MB"},
		{"a list of nothing", says(`{"services": [` + strings.Repeat("{},", mostItems) + `{}]}`),
			func(c *Client) error { _, err := c.Services(t.Context()); return err }, ErrAnswered, "more than 100000 items"},
		{"one instance", long(`{"server": {`, " "), func(c *Client) error { _, err := c.Server(t.Context(), "a"); return err }, ErrAnswered, "more than 4 MB"},
		{"an error", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500); long("", "x")(w, r) },
			func(c *Client) error { _, err := c.Services(t.Context()); return err }, ErrAnswered, "Internal Server Error"},
		{"what nobody reads", long("", "x"), func(c *Client) error { return c.Evacuate(t.Context(), "a", "") }, nil, ""},
		{"a compressed one", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			pack := gzip.NewWriter(w)
			for range 2 * mostOfList / (1 << 16) {
				_, _ = pack.Write(make([]byte, 1<<16))
			}
			pack.Close()
		}, func(c *Client) error { _, err := c.Services(t.Context()); return err }, ErrAnswered, "more than 32 MB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.call(newCloud(t, c.answer).client())
			if c.kind == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			checkKind(t, err, c.kind)
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, expected %q in it", err, c.says)
			}
		})
	}
	t.Run("a token", func(t *testing.T) {
		cloud := newCloud(t, says(""))
		cloud.login = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Subject-Token", "t")
			w.WriteHeader(201)
			long(`{"token": {`, " ")(w, r)
		}
		_, err := cloud.client().Services(t.Context())
		checkKind(t, err, ErrNotSent)
	})
	t.Run("one that drips", func(t *testing.T) {
		cloud := newCloud(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"services": [`)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
		_, err := cloud.client(func(o *Options) { o.Timeout = 100 * time.Millisecond }).Services(t.Context())
		checkKind(t, err, ErrUnknownOutcome)
		if !strings.Contains(err.Error(), "no answer within 100ms") {
			t.Error(err)
		}
	})
}

func TestASecretIsHiddenInEverySpelling(t *testing.T) {
	const password = "p/ä=\"s w+rd%<"
	client := newCloud(t, says("")).client(func(o *Options) { o.Password = password })
	escaped, _ := json.Marshal(password)
	for name, text := range map[string]string{
		"as it is": password, "in a query": url.QueryEscape(password), "in a path": url.PathEscape(password), "in small digits": lowerEscapes(url.QueryEscape(password)),
		"in JSON": string(escaped), "in base64": base64.StdEncoding.EncodeToString([]byte(password)), "in base64 for URLs": base64.RawURLEncoding.EncodeToString([]byte(password)),
	} {
		if got := client.clean("you sent " + text + "!"); !strings.Contains(got, "***") || strings.Contains(got, text) {
			t.Errorf("%s: %s", name, got)
		}
	}
}
