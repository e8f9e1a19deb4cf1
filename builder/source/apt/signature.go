package apt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/powernode/bootsmith/builder/fault"
)

// maxKeyring bounds a keyring file, in bytes.
const maxKeyring = 16 << 20

// verifySignature returns the signed text of a clear-signed message (RFC 9580,
// section 7), signed by a key of the keyring. Nothing but that text may be in
// the file.
func (a *Archive) verifySignature(data []byte) ([]byte, error) {
	keys, err := a.keys()
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("verifying the release of suite %q in %q", a.Suite, a.Mirror)
	if !bytes.HasPrefix(data, []byte("-----BEGIN PGP SIGNED MESSAGE-----")) {
		return nil, fault.Inputf("%s: InRelease is not a clear-signed message", what).WithFix("check the mirror's URL")
	}
	block, rest := clearsign.Decode(data)
	if block == nil || len(bytes.TrimSpace(rest)) != 0 {
		return nil, fault.Inputf("%s: InRelease is damaged, or holds text that is not signed", what)
	}
	config := &packet.Config{Time: a.Now}
	signers, err := checkSignatures(keys, block, config)
	if err != nil {
		return nil, fault.Inputf("%s: no valid signature: %w", what, err)
	}
	if signers != nil {
		return nil, fault.Inputf("%s: it is signed by %s, none of which is in keyring %q", what, strings.Join(signers, ", "), a.keyringFile()).
			WithFix("set %s.keyring to the keyring of this archive", a.field())
	}
	return append(block.Plaintext, '\n'), nil
}

// checkSignatures returns nothing when one signature is good; otherwise the
// IDs of the unknown signers, or an error when a known key's signature is bad.
func checkSignatures(keys openpgp.EntityList, block *clearsign.Block, config *packet.Config) (signers []string, err error) {
	var bad error
	packets := packet.NewReader(block.ArmoredSignature.Body)
	for {
		p, err := packets.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		sig, ok := p.(*packet.Signature)
		if !ok || sig.IssuerKeyId == nil {
			continue
		}
		id := fmt.Sprintf("key %016X", *sig.IssuerKeyId)
		if len(keys.KeysById(*sig.IssuerKeyId)) == 0 {
			signers = append(signers, id)
			continue
		}
		var one bytes.Buffer
		if err := sig.Serialize(&one); err != nil {
			return nil, err
		}
		if _, err = openpgp.CheckDetachedSignature(keys, bytes.NewReader(block.Bytes), &one, config); err == nil {
			return nil, nil
		}
		bad = errors.Join(bad, fmt.Errorf("%s: %w", id, err))
	}
	if bad == nil && signers == nil {
		bad = errors.New("there is none")
	}
	return signers, bad
}

func (a *Archive) keyringFile() string {
	if a.Keyring == "" {
		return DefaultKeyring(a.Suite)
	}
	return a.Keyring
}

// keys returns the keys that the release must be signed by.
func (a *Archive) keys() (openpgp.EntityList, error) {
	if a.Keyring == "" {
		d := distributionOf(a.Suite)
		return readKeyring(d.keyring, d.keyringPackage)
	}
	keys, err := readKeyring(a.Keyring, "")
	if err != nil {
		return nil, fault.Inputf("%w", err).WithFix("correct %s.keyring", a.field())
	}
	return keys, nil
}

// readKeyring reads a file of keys, which may be binary or armored. A missing
// one is the host's fault when a package is known to bring it.
func readKeyring(name, pkg string) (openpgp.EntityList, error) {
	data, err := readBounded(name, maxKeyring)
	if errors.Is(err, fs.ErrNotExist) && pkg != "" {
		return nil, fault.Toolf("reading keyring %q: %w", name, fs.ErrNotExist).WithFix("install the package %s", pkg)
	}
	if err != nil {
		return nil, fault.Inputf("reading keyring %q: %w", name, err)
	}
	var keys openpgp.EntityList
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN PGP")) {
		keys, err = openpgp.ReadArmoredKeyRing(bytes.NewReader(data))
	} else {
		keys, err = openpgp.ReadKeyRing(bytes.NewReader(data))
	}
	if err == nil && len(keys) == 0 {
		err = errors.New("it holds no keys")
	}
	if err != nil {
		return nil, fault.Inputf("reading keyring %q: %w", name, err)
	}
	return keys, nil
}

// readBounded reads a file of at most limit bytes.
func readBounded(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("longer than %d bytes", limit)
	}
	return data, err
}
