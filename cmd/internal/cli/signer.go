package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/publish"
)

// newSigner returns the signer of the flags and the environment: keyless, unless
// a key is named.
func newSigner(env Env, flags publishFlags) (*publish.Signer, error) {
	o := publish.SignerOptions{
		SigningConfig: firstOf(flags.signingConfig, env.Getenv(SigningConfigVariable)),
		TrustedRoot:   firstOf(flags.trustedRoot, env.Getenv(TrustedRootVariable)),
		Now:           env.Now,
	}
	neither := o.SigningConfig == "" && o.TrustedRoot == ""
	if (o.SigningConfig == "" || o.TrustedRoot == "") && !(neither && flags.key != "") {
		return nil, fault.Inputf("preparing to sign: no signing services are named").
			WithFix("give --signing-config and --trusted-root, or set %s and %s", SigningConfigVariable, TrustedRootVariable)
	}
	var err error
	if flags.key != "" {
		if flags.token != "" || flags.tokenFile != "" || flags.tokenCommand != "" {
			return nil, fault.Inputf("preparing to sign: --key and an identity token are given").WithFix("give one of them")
		}
		o.Key, err = publish.ReadKey(flags.key, func() ([]byte, error) { return readPassphrase(env, flags.keyPassphrase) })
	} else {
		o.Token, err = publish.TokenOptions{
			Token: flags.token, File: flags.tokenFile, Command: flags.tokenCommand, Run: runTokenCommand, Getenv: env.Getenv, Now: env.Now,
		}.Source()
	}
	if err != nil {
		return nil, err
	}
	return publish.NewSigner(o)
}

// readPassphrase returns the passphrase of the signing key.
func readPassphrase(env Env, file string) ([]byte, error) {
	if file != "" {
		text, err := os.ReadFile(file)
		return bytes.TrimRight(text, "\r\n"), err
	}
	if v := env.Getenv(KeyPassphraseVariable); v != "" {
		return []byte(v), nil
	}
	return nil, errors.New("no passphrase is given")
}

// runTokenCommand runs a command line without a shell.
func runTokenCommand(ctx context.Context, line string) ([]byte, error) {
	argv := strings.Fields(line)
	if len(argv) == 0 {
		return nil, fault.Inputf("running --identity-token-command: it is empty")
	}
	return execProgram(ctx, "", argv...)
}
