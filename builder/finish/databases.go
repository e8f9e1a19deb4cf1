package finish

import (
	"context"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/finish/catalog"
	"github.com/powernode/bootsmith/builder/finish/hwdb"
)

// makeHardwareDatabase compiles udev's hardware database, as udev's postinst
// does.
func makeHardwareDatabase(_ context.Context, r *root, _ Input) error {
	const to = "usr/lib/udev/hwdb.bin"
	if r.named(to) {
		return nil
	}
	var files []hwdb.File
	for _, p := range r.merged(".hwdb", "etc/udev/hwdb.d", "usr/local/lib/udev/hwdb.d", "usr/lib/udev/hwdb.d") {
		text, err := r.read(p)
		if err != nil {
			return err
		}
		files = append(files, hwdb.File{Path: "/" + p, Text: string(text)})
	}
	data, err := hwdb.Compile(files)
	if err != nil {
		return fault.Inputf("%w", err).WithFix("hide the file with a link of its name to /dev/null in /etc/udev/hwdb.d")
	}
	return r.write(to, data, owned{mode: 0o444})
}

// makeCatalog compiles the journal's message catalog, as systemd's postinst
// does.
func makeCatalog(_ context.Context, r *root, _ Input) error {
	const to = "var/lib/systemd/catalog/database"
	if r.named(to) {
		return nil
	}
	var files []catalog.File
	for _, p := range r.merged(".catalog", "etc/systemd/catalog", "usr/local/lib/systemd/catalog", "usr/lib/systemd/catalog") {
		text, err := r.read(p)
		if err != nil {
			return err
		}
		files = append(files, catalog.File{Name: p, Text: string(text)})
	}
	data, err := catalog.Compile(files)
	if err != nil {
		return fault.Inputf("%w", err).WithFix("hide the file with a link of its name to /dev/null in /etc/systemd/catalog")
	}
	return r.write(to, data, owned{mode: 0o644})
}
