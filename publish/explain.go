package publish

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"

	"github.com/powernode/bootsmith/builder/fault"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// remoteError classes an error of a registry, unless it is classed already, and
// says what to do about it where that is known.
func remoteError(err error) error {
	if err == nil || fault.ClassOf(err) != fault.Unknown {
		return err
	}
	return &fault.Error{Class: fault.Remote, Err: err, Fix: remedy(err)}
}

// Remedies for what a registry or a proxy before it refuses.
const (
	trustIt = "name the certificate authority of the registry with --registry-ca"
	logIn   = "log in to the registry (--registry-username with --registry-password-file, or Docker's credentials) with an account that may do this; " +
		"Gitea takes a personal access token here, not a job's token"
)

// statusOf returns the status of an answer in err's chain, 0 if there is none.
func statusOf(err error) int {
	var answer *errcode.ErrorResponse
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}

// remedy says what to do about an error of a registry, "" if that is unknown.
func remedy(err error) string {
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) {
		return trustIt
	}
	if errors.Is(err, auth.ErrBasicCredentialNotFound) {
		return logIn
	}
	var answer *errcode.ErrorResponse
	if !errors.As(err, &answer) {
		return ""
	}
	switch answer.StatusCode {
	case http.StatusUnauthorized:
		return logIn
	case http.StatusForbidden:
		if answer.Method == http.MethodGet || answer.Method == http.MethodHead {
			return "check that the account may read there"
		}
		// Gitea says no more when a size limit is reached.
		return "check the account's permissions and the registry's size quota (Gitea: LIMIT_SIZE_CONTAINER)"
	case http.StatusMethodNotAllowed:
		if answer.Method == http.MethodDelete {
			return "let the registry delete manifests (distribution: storage.delete.enabled)"
		}
	case http.StatusRequestEntityTooLarge:
		return fmt.Sprintf("raise the body size limit of the proxy%s before the registry (nginx: client_max_body_size), or of the registry", serverOf(err))
	case http.StatusTooManyRequests:
		return fmt.Sprintf("run it again later%s: what was sent stays", retryAfter(err))
	}
	return ""
}
