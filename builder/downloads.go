package builder

import (
	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/spec"
)

// Download says what a run of a plan would fetch for one architecture: package
// files, of which the cache may have some.
type Download struct {
	Arch string `json:"arch"`
	// Packages and Bytes count all, Missing and MissingBytes those that the
	// cache lacks.
	Packages     int   `json:"packages"`
	Bytes        int64 `json:"bytes"`
	Missing      int   `json:"missing"`
	MissingBytes int64 `json:"missing_bytes"`
}

// Downloads says what Run would fetch. Packages in the cache are looked at by
// size only.
func Downloads(c Config, f *spec.File, p *Plan) ([]Download, error) {
	var list []Download
	for _, t := range p.Targets {
		a, err := arch.Lookup(t.Arch)
		if err != nil {
			return nil, err
		}
		archive, err := openArchive(c, f, a)
		if err != nil {
			return nil, err
		}
		d := Download{Arch: t.Arch}
		for _, pkg := range t.Packages.All() {
			d.Packages++
			d.Bytes += pkg.Size
			if !archive.Cached(pkg) {
				d.Missing++
				d.MissingBytes += pkg.Size
			}
		}
		list = append(list, d)
	}
	return list, nil
}
