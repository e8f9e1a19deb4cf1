package publish

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
	"oras.land/oras-go/v2/content"
)

// Reason says in one word why a publication was not accepted. The values are
// those of the platform's publication_status.
type Reason string

// The reasons.
const (
	// SignatureFailed: no valid signature of an expected identity.
	SignatureFailed Reason = "cosign_verify_failed"
	// Unreachable: the registry, or what it should have, cannot be read.
	Unreachable Reason = "manifest_unreachable"
	// DigestMismatch: bytes differ from the digest or size that names them.
	DigestMismatch Reason = "digest_mismatch"
	// PredicateMissing: no valid attestation of a required type.
	PredicateMissing Reason = "predicate_missing"
	// PredicateMismatch: a signed statement does not say what it must.
	PredicateMismatch Reason = "predicate_mismatch"
)

// VerifyError is why something was not accepted; its class is fault.Remote.
type VerifyError struct {
	Reason Reason
	Err    error
}

// Error returns the reason in words.
func (e *VerifyError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *VerifyError) Unwrap() error { return e.Err }

// ReasonOf returns the reason in err's chain, "" when it has none.
func ReasonOf(err error) Reason {
	var e *VerifyError
	if errors.As(err, &e) {
		return e.Reason
	}
	return ""
}

func refuse(r Reason, format string, args ...any) error {
	return &fault.Error{Class: fault.Remote, Err: &VerifyError{Reason: r, Err: fmt.Errorf(format, args...)}}
}

// readingRefused tells a registry that fails from one that gives out other
// bytes than it was asked for.
func readingRefused(doing string, err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if errors.Is(err, errTooMany) {
		return refuse(SignatureFailed, "%s: %w", doing, err)
	}
	if wrongBytes(err) {
		return refuse(DigestMismatch, "%s: %w", doing, err)
	}
	return &fault.Error{Class: fault.Remote, Err: &VerifyError{Reason: Unreachable, Err: fmt.Errorf("%s: %w", doing, err)}, Fix: remedy(err)}
}

func wrongBytes(err error) bool {
	if errors.Is(err, content.ErrMismatchedDigest) || errors.Is(err, content.ErrTrailingData) || errors.Is(err, content.ErrInvalidDescriptorSize) {
		return true
	}
	// oras-go has no value for a registry whose headers give another digest or
	// length (repository.go, verifyContentDigest and Fetch).
	text := err.Error()
	return strings.Contains(text, "digest mismatch in") || strings.Contains(text, "mismatch Content-Length")
}
