package callback

import "fmt"

// Reasons that the sender finds itself; every other reason is the platform's
// own word.
const (
	ReasonNetwork     = "network"      // no answer: connection, TLS, timeout
	ReasonCancelled   = "cancelled"    // the context was done
	ReasonStatus      = "http_status"  // an answer outside 2xx
	ReasonRedirect    = "redirect"     // 3xx: the URL is not the platform's
	ReasonBadResponse = "bad_response" // 2xx, but not the platform speaking
)

// Error says that the platform did not take an event. It never holds the
// secret, a signature or the URL's query.
type Error struct {
	// Reason is one word for machines: the platform's ("bad_signature") or one
	// of the constants.
	Reason string
	// Status is the HTTP status of the last answer, 0 without one.
	Status int
	// Err says it in words.
	Err error

	retry bool
}

// Error returns reason and words.
func (e *Error) Error() string { return fmt.Sprintf("delivering event: %s: %v", e.Reason, e.Err) }

// Unwrap returns the words.
func (e *Error) Unwrap() error { return e.Err }

// Retriable reports whether the same delivery may succeed later without anyone
// changing anything.
func (e *Error) Retriable() bool { return e.retry }
