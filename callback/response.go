package callback

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// What Response.Status says.
const (
	StatusOK     = "ok"     // known already and unchanged
	StatusQueued = "queued" // taken, verification follows
	StatusError  = "error"  // refused, see Reason
)

// Response is the platform's answer. It comes with HTTP status 200 even when
// the platform refuses the event.
type Response struct {
	Success bool   `json:"success"`
	Status  string `json:"status"`
	Reason  string `json:"reason,omitempty"`
	// Message explains Reason for a person.
	Message       string `json:"message,omitempty"`
	PublicationID string `json:"publication_id,omitempty"`
}

// maxResponse bounds what is read of an answer, in bytes.
const maxResponse = 64 << 10

// readResponse reads the answer to a delivery.
func readResponse(resp *http.Response) (Response, *Error) {
	switch code := resp.StatusCode; {
	case code >= 300 && code < 400:
		return Response{}, &Error{Reason: ReasonRedirect, Status: code,
			Err: errors.New("the platform answered with a redirect, which is not followed; use the final URL")}
	case code < 200 || code > 299:
		return Response{}, &Error{Reason: ReasonStatus, Status: code, retry: retriable(code),
			Err: fmt.Errorf("the platform answered %d %s", code, http.StatusText(code))}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	if err != nil {
		// The event may have been taken; a resend is harmless.
		return Response{}, &Error{Reason: ReasonNetwork, Status: resp.StatusCode, retry: true, Err: fmt.Errorf("reading the answer: %w", plain(err))}
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return Response{Success: true, Status: StatusOK}, nil
	}
	r, err := parseResponse(body)
	if err != nil {
		return Response{}, &Error{Reason: ReasonBadResponse, Status: resp.StatusCode, Err: err}
	}
	if r.Status == StatusError || !r.Success {
		return Response{}, refusal(r, resp.StatusCode)
	}
	return r, nil
}

func refusal(r Response, code int) *Error {
	reason, words := r.Reason, r.Message
	if reason == "" {
		reason = "unspecified"
	}
	if words == "" {
		words = "no explanation given"
	}
	return &Error{Reason: reason, Status: code, Err: fmt.Errorf("the platform refused: %s", words)}
}

// parseResponse decodes an answer. Platforms differ in whether an identifier
// is a number or a string.
func parseResponse(body []byte) (Response, error) {
	if len(body) > maxResponse {
		return Response{}, fmt.Errorf("the answer is longer than %d bytes", maxResponse)
	}
	var a struct {
		Success       *bool           `json:"success"`
		Status        string          `json:"status"`
		Reason        string          `json:"reason"`
		Message       string          `json:"message"`
		PublicationID json.RawMessage `json:"publication_id"`
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return Response{}, errors.New("the answer is not the platform's JSON; check the URL")
	}
	if a.Success == nil && a.Status == "" {
		return Response{}, errors.New("the answer has neither success nor status; check the URL")
	}
	id := string(a.PublicationID)
	if id == "null" {
		id = ""
	}
	var s string
	if json.Unmarshal(a.PublicationID, &s) == nil {
		id = s
	}
	return Response{
		Success:       a.Success == nil || *a.Success,
		Status:        clip(printable(a.Status)),
		Reason:        clip(printable(a.Reason)),
		Message:       clip(printable(a.Message)),
		PublicationID: clip(printable(id)),
	}, nil
}
