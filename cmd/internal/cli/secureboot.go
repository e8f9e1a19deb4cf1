package cli

import (
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/secureboot"
	"github.com/powernode/bootsmith/builder/spec"
)

// Environment variables for signing: two with a file, or, for the key, a
// PKCS#11 URI; the third with the PIN of a token.
const (
	SecureBootCertVariable = "BOOTSMITH_SECURE_BOOT_CERT"
	SecureBootKeyVariable  = "BOOTSMITH_SECURE_BOOT_KEY"
	SecureBootPINVariable  = "BOOTSMITH_SECURE_BOOT_PIN"
)

// secureBootFlags say who signs the unified kernel image.
type secureBootFlags struct{ certificate, key string }

func (s *secureBootFlags) register(f *pflag.FlagSet) {
	f.StringVar(&s.certificate, "secure-boot-cert", "", "PEM certificate of who signs the UKI for Secure Boot (default: "+SecureBootCertVariable+", then the definition's)")
	f.StringVar(&s.key, "secure-boot-key", "", "its private key, a PEM file or a PKCS#11 URI (default: "+SecureBootKeyVariable+", then the definition's)")
}

// newSecureBoot opens the certificate and key of the flags, the environment or the
// definition, in this order; nil when there is no certificate.
func newSecureBoot(env Env, flags secureBootFlags, file *spec.File) (*secureboot.Signer, error) {
	certificate := firstOf(flags.certificate, env.Getenv(SecureBootCertVariable))
	if certificate == "" {
		certificate = file.Resolve(file.SecureBoot.Certificate)
	}
	key := firstOf(flags.key, env.Getenv(SecureBootKeyVariable))
	if key == "" {
		key = file.SecureBoot.Key
		if !strings.HasPrefix(key, "pkcs11:") {
			key = file.Resolve(key)
		}
	}
	if certificate == "" {
		if key != "" {
			return nil, fault.Inputf("preparing to sign for Secure Boot: there is a private key, but no certificate").
				WithFix("give --secure-boot-cert, set %s, or add secure_boot.certificate to the definition", SecureBootCertVariable)
		}
		return nil, nil
	}
	return secureboot.Open(secureboot.Config{
		Certificate: filepath.Clean(certificate), Key: key, PIN: env.Getenv(SecureBootPINVariable), Run: secureboot.Exec,
	})
}
