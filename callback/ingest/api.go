package ingest

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	apiRoot = "/api/v1/system/"
	// maxAPIBody bounds the body of an API request, in bytes.
	maxAPIBody = 64 << 10
)

// route is one call of the API. serve returns the status and the answer's data.
type route struct {
	pattern string
	scope   Scope
	serve   func(r *http.Request) (int, any, error)
}

func (s *Service) routes() []route {
	return []route{
		{"GET " + apiRoot + "disk_image_publications", ScopeRead, s.listPublications},
		{"GET " + apiRoot + "disk_image_publications/{id}", ScopeRead, s.getPublication},
		{"GET " + apiRoot + "node_platforms/{id}/disk_image_publications", ScopeRead, s.listPlatformPublications},
		{"GET " + apiRoot + "node_platforms", ScopeRead, s.listPlatforms},
		{"POST " + apiRoot + "node_platforms", ScopeOperate, s.postPlatform},
		{"PATCH " + apiRoot + "node_platforms/{id}", ScopeOperate, s.patchPlatform},
		{"POST " + apiRoot + "disk_image_webhooks", ScopeOperate, s.postWebhook},
		{"GET " + apiRoot + "disk_image_webhooks/{id}/recent", ScopeRead, s.listAttempts},
	}
}

// envelope is every answer of the API.
type envelope struct {
	Success    bool   `json:"success"`
	Data       any    `json:"data,omitempty"`
	NextCursor string `json:"next_cursor,omitempty"`
	// Error is a word for machines, Message the same for people.
	Error   string `json:"error,omitempty"`
	Message string `json:"message,omitempty"`
}

// authorized lets a request through whose bearer token (RFC 6750) has the scope.
func (s *Service) authorized(scope Scope, serve func(*http.Request) (int, any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := s.token(r.Header.Get("Authorization"))
		if !ok {
			w.Header().Set("WWW-Authenticate", `Bearer realm="ingest"`)
			writeError(w, http.StatusUnauthorized, "unauthorized", "a bearer token is needed")
			return
		}
		if !slices.Contains(token.Scopes, scope) && !(scope == ScopeRead && slices.Contains(token.Scopes, ScopeOperate)) {
			writeError(w, http.StatusForbidden, "forbidden", fmt.Sprintf("the token lacks the scope %q", scope))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxAPIBody)
		status, data, err := serve(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		e, ok := data.(envelope)
		if !ok {
			e = envelope{Data: data}
		}
		e.Success = true
		writeJSON(w, status, e)
	})
}

// token finds the token of an Authorization header. All tokens are compared, by
// digest, so that time tells neither which one nor how much of it is right.
func (s *Service) token(header string) (Token, bool) {
	scheme, value, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return Token{}, false
	}
	got := sha256.Sum256([]byte(value))
	match := -1
	for i, t := range s.cfg.Tokens {
		want := sha256.Sum256([]byte(t.Secret))
		match = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(got[:], want[:]), i, match)
	}
	if match < 0 {
		return Token{}, false
	}
	return s.cfg.Tokens[match], true
}

// fail answers an error of a call.
func (s *Service) fail(w http.ResponseWriter, r *http.Request, err error) {
	for _, c := range []struct {
		target error
		status int
		word   string
	}{
		{ErrNotFound, http.StatusNotFound, "not_found"},
		{ErrConflict, http.StatusConflict, "conflict"},
		{ErrInvalid, http.StatusUnprocessableEntity, "invalid"},
	} {
		if errors.Is(err, c.target) {
			writeError(w, c.status, c.word, clip(err.Error()))
			return
		}
	}
	s.internal(w, r, err)
}

// internal answers a failure that is not the caller's business.
func (s *Service) internal(w http.ResponseWriter, r *http.Request, err error) {
	s.cfg.Log.Error("request failed", "method", r.Method, "pattern", r.Pattern, "error", err)
	writeError(w, http.StatusInternalServerError, "internal", "the request failed; the log has details")
}

func writeError(w http.ResponseWriter, status int, word, message string) {
	writeJSON(w, status, envelope{Error: word, Message: message})
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// An error here is the client's connection; nobody is left to tell.
	_ = json.NewEncoder(w).Encode(value)
}

// decode reads the JSON body of a call.
func decode(r *http.Request, into any) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("%w body: %w", ErrInvalid, err)
	}
	if dec.More() {
		return fmt.Errorf("%w body: more than one JSON value", ErrInvalid)
	}
	return nil
}

// query reads the URL's parameters; one that is not in names, or comes twice,
// is an error: a misspelt filter must not select everything.
func query(r *http.Request, names ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("%w query: %w", ErrInvalid, err)
	}
	for name, values := range q {
		if !slices.Contains(names, name) || len(values) != 1 {
			return nil, fmt.Errorf("%w query: parameter %q is unknown or given twice; known are %s", ErrInvalid, name, strings.Join(names, ", "))
		}
	}
	return q, nil
}

// page reads limit and cursor.
func page(q url.Values) (Page, error) {
	var p Page
	var err error
	if v := q.Get("limit"); v != "" {
		if p.Limit, err = strconv.Atoi(v); err != nil || p.Limit < 1 || p.Limit > MaxLimit {
			return p, fmt.Errorf("%w limit: %q is not between 1 and %d", ErrInvalid, v, MaxLimit)
		}
	}
	if v := q.Get("cursor"); v != "" {
		if p.Cursor, err = strconv.ParseInt(v, 10, 64); err != nil || p.Cursor < 1 {
			return p, fmt.Errorf("%w cursor: %q is not one", ErrInvalid, v)
		}
	}
	return p, nil
}

// paged is the answer with one page of a list.
func paged[T any](l List[T]) envelope {
	e := envelope{Data: l.Items}
	if l.Items == nil {
		e.Data = []T{}
	}
	if l.Next != 0 {
		e.NextCursor = strconv.FormatInt(l.Next, 10)
	}
	return e
}
