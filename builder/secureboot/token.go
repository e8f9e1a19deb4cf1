package secureboot

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
)

// Command is a program to run.
type Command struct {
	Argv []string
	// Env is added to the environment, as "NAME=value".
	Env   []string
	Stdin []byte
}

// Runner runs a command and returns its standard output. Its error says what
// the program printed on standard error; for a missing program it wraps
// exec.ErrNotFound.
type Runner func(ctx context.Context, c Command) ([]byte, error)

// Exec is the Runner for programs of the build host.
func Exec(ctx context.Context, c Command) ([]byte, error) {
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Env = append(cmd.Environ(), c.Env...)
	cmd.Stdin = bytes.NewReader(c.Stdin)
	out, err := cmd.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		said := strings.Join(strings.Fields(string(failed.Stderr)), " ")
		err = fmt.Errorf("running %s: %w: %.300s", c.Argv[0], err, said)
	}
	return out, err
}

// pinVariable carries the PIN to the program: arguments can be read by every
// user of the machine, an environment only by the same.
const pinVariable = "BOOTSMITH_TOKEN_PIN"

// tokenKey is a private key in a PKCS#11 token, used through OpenSC's
// pkcs11-tool. It implements crypto.Signer.
type tokenKey struct {
	ctx    context.Context
	at     location
	run    Runner
	public crypto.PublicKey
}

// Public implements crypto.Signer with the certificate's key.
func (k tokenKey) Public() crypto.PublicKey { return k.public }

// sha256Prefix is the DER form of a DigestInfo with SHA-256 up to the digest
// (RFC 8017, section 9.2): CKM_RSA_PKCS pads and signs what it is given.
func sha256Prefix() []byte {
	return []byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}
}

// Sign implements crypto.Signer for digests by SHA-256.
func (k tokenKey) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != crypto.SHA256 || len(digest) != crypto.SHA256.Size() {
		return nil, errors.New("signing with a token: the digest is not one by SHA-256")
	}
	argv := slices.Concat([]string{"pkcs11-tool"}, k.at.arguments(),
		[]string{"--login", "--pin", "env:" + pinVariable, "--sign", "--mechanism", "RSA-PKCS"})
	out, err := k.run(k.ctx, Command{Argv: argv, Env: []string{pinVariable + "=" + k.at.pin}, Stdin: append(sha256Prefix(), digest...)})
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, fault.Toolf("signing with a token: looking for pkcs11-tool: %w", exec.ErrNotFound).WithFix("install the package opensc")
	case err != nil:
		return nil, fmt.Errorf("signing with a token: %w", err)
	}
	return out, nil
}
