package builder

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/initramfs"
	"github.com/powernode/bootsmith/builder/kernel"
	"github.com/powernode/bootsmith/builder/overlay"
	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/families"
)

// Boot is the part of a plan for what starts the root.
type Boot struct {
	// Modules are loaded besides the usual ones.
	Modules []string `json:"modules,omitempty"`
	// FilesDigest is of the folder that is added to the initramfs.
	FilesDigest string `json:"files_digest,omitempty"`
	// CertificateSHA256 is the digest of the certificates of who signs the
	// unified kernel image; "" when nobody does.
	CertificateSHA256 string `json:"certificate_sha256,omitempty"`
	// RPi4 is there when the family for the Raspberry Pi 4 is built.
	RPi4 *RPi4 `json:"rpi4,omitempty"`
}

// RPi4 is what a plan says of the Raspberry Pi 4.
type RPi4 struct {
	FirmwareDigest string   `json:"firmware_digest"`
	Config         []string `json:"config,omitempty"`
}

// addBoot reads what the definition adds; p.Families is set.
func (p *Plan) addBoot(ctx context.Context, c Config, f *spec.File) error {
	p.Boot.Modules = f.Initramfs.Modules
	if f.Initramfs.Files != "" {
		o, err := overlay.Load(ctx, f.Resolve(f.Initramfs.Files), c.Store)
		if err != nil {
			return err
		}
		p.Boot.FilesDigest = o.Digest()
	}
	if c.SecureBoot != nil {
		p.Boot.CertificateSHA256 = c.SecureBoot.Digest()
	}
	if !slices.Contains(p.Families, families.RPi4Name) {
		return nil
	}
	firmware, err := loadFirmware(ctx, f.Resolve(f.RPi4.Firmware), c.Store)
	if err != nil {
		return err
	}
	p.Boot.RPi4 = &RPi4{FirmwareDigest: firmware.Digest(), Config: f.RPi4.Config}
	return nil
}

// initramfsFiles returns the definition's files for the initramfs. Those that
// the build itself puts there can't be replaced.
func (b *targetBuild) initramfsFiles(ctx context.Context, modules []kernel.Module) ([]initramfs.File, error) {
	if b.plan.Boot.FilesDigest == "" {
		return nil, nil
	}
	o, err := b.loadOverlay(ctx, b.file.Resolve(b.file.Initramfs.Files), b.plan.Boot.FilesDigest)
	if err != nil {
		return nil, err
	}
	taken := []string{"init", initramfs.ModuleList, initramfs.RootName, "dev", "proc", "run", "sys"}
	for _, m := range modules {
		taken = append(taken, m.Path)
	}
	var files []initramfs.File
	for _, e := range o {
		if e.Inode.IsDir() {
			continue // made for what is in it
		}
		for _, t := range taken {
			if e.Path == t || strings.HasPrefix(t, e.Path+"/") {
				return nil, fault.Inputf("adding %q to the initramfs: the build puts %q there", e.Path, t).WithFix("remove it from the folder that initramfs.files names")
			}
		}
		files = append(files, initramfs.File{Path: e.Path, Mode: e.Inode.Mode & 0o777, Target: e.Inode.Target, Size: e.Inode.Size,
			Open: func() (io.ReadCloser, error) { return b.config.Store.Open(e.Inode.Content) }})
	}
	return files, nil
}

// signUKI signs the unified kernel image, if somebody signs.
func (b *targetBuild) signUKI(ctx context.Context, unsigned families.Blob) (families.Blob, error) {
	signer := b.config.SecureBoot
	if signer == nil {
		return unsigned, nil
	}
	if !signer.CanSign() {
		return families.Blob{}, errNoKey()
	}
	return b.writePart("uki-signed.efi", func(w io.Writer) error {
		f, err := os.Open(unsigned.Path)
		if err != nil {
			return err
		}
		defer f.Close()
		return signer.Sign(ctx, w, f, unsigned.Size)
	})
}

// checkSigner makes sure, before anything is built, that the plan's signer can
// sign, unless what it signed is cached.
func checkSigner(c Config, f *spec.File, p *Plan) error {
	digest := ""
	if c.SecureBoot != nil {
		digest = c.SecureBoot.Digest()
	}
	switch {
	case digest != p.Boot.CertificateSHA256:
		return fmt.Errorf("preparing to sign for Secure Boot: the certificate has changed since the plan was made")
	case digest == "" || c.SecureBoot.CanSign() || c.CacheFrom != nil:
		return nil
	}
	stages, err := Stages(c, f, p)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(stages, func(s StagePlan) bool { return strings.HasSuffix(s.Stage, "/uki") && s.Action == Build }) {
		return errNoKey()
	}
	return nil
}

func errNoKey() error {
	return fault.Inputf("preparing to sign for Secure Boot: there is a certificate, but no private key").
		WithFix("give --secure-boot-key, set BOOTSMITH_SECURE_BOOT_KEY, or add secure_boot.key to the definition")
}
