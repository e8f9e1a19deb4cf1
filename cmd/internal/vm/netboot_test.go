//go:build boot

package vm_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/cmd/internal/vm"
)

// webServer serves folders on the host's loopback, which guests see at
// 10.0.2.2, and remembers who asked for what.
type webServer struct {
	port int
	mux  *http.ServeMux

	mu     sync.Mutex
	agents map[string]string // path: User-Agent
}

func startWebServer(t *testing.T) *webServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &webServer{port: l.Addr().(*net.TCPAddr).Port, mux: http.NewServeMux(), agents: map[string]string{}}
	server := &http.Server{Handler: s}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return s
}

func (s *webServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.agents[r.URL.Path] = r.UserAgent()
	s.mu.Unlock()
	s.mux.ServeHTTP(w, r)
}

// share serves a folder and returns its URL for guests, with a slash at its end.
func (s *webServer) share(name, dir string) string {
	s.mux.Handle("/"+name+"/", http.StripPrefix("/"+name, http.FileServer(http.Dir(dir))))
	return fmt.Sprintf("http://10.0.2.2:%d/%s/", s.port, name)
}

// asked checks that a program fetched all of these paths.
func (s *webServer) asked(t *testing.T, agent string, paths ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range paths {
		if !strings.HasPrefix(s.agents[p], agent) {
			t.Errorf("%s was fetched by %q, want %s", p, s.agents[p], agent)
		}
	}
}

// buildAbsolute builds with the URL under which it is served.
func (l *lab) buildAbsolute(t *testing.T) {
	t.Helper()
	base := l.web.share("absolute", l.absolute)
	dir := variant(t, func(yaml string) string {
		return yaml + "families: [kernel-initrd, ipxe]\nipxe: {base_url: \"" + base + "build/${arch}/kernel-initrd/\"}\n"
	})
	if err := os.Rename(buildPlatform(t, dir), filepath.Join(l.absolute, "build")); err != nil {
		t.Fatal(err)
	}
}

// ipxe boots through iPXE: of the network card's ROM under BIOS, and as the boot
// program of a disk under UEFI.
func (l *lab) ipxe(t *testing.T, r row, a arch.Arch) guest {
	t.Helper()
	share := r.fileName()
	dir := l.builds[r.Kernel]
	files := "/" + share + "/build/" + a.Name + "/kernel-initrd/"
	if r.Medium == ipxeAbsolute {
		dir = filepath.Join(l.absolute, "build")
		files = "/absolute/build/" + a.Name + "/kernel-initrd/"
	}
	script := l.web.share(share, filepath.Dir(dir)) + "build/" + a.Name + "/ipxe/boot.ipxe"

	args := vm.Base(a, 0)
	if r.Firmware == bios {
		args = append(args, "-netdev", "user,id=n0,bootfile="+script, "-device", "virtio-net-pci,netdev=n0,bootindex=0")
	} else {
		args = append(args, vm.Firmware(a, "")...)
		args = append(args, "-drive", "if=none,id=d0,format=raw,file="+vm.Escape(ipxeDisk(t, a, script)),
			"-device", "virtio-blk-pci,drive=d0,bootindex=0", "-netdev", "user,id=n0")
		args = append(args, plainNetwork()...)
	}
	return guest{args: args, digest: readManifest(t, filepath.Join(dir, a.Name)).ComposefsDigest, check: func(t *testing.T) {
		l.web.asked(t, "iPXE/", "/"+share+"/build/"+a.Name+"/ipxe/boot.ipxe",
			files+"vmlinuz", files+"initramfs.cpio.zst", files+"root.cpio")
	}}
}

// plainNetwork returns a network card without iPXE in its ROM, and the random
// numbers that UEFI's network stack wants.
func plainNetwork() []string {
	return []string{"-device", "virtio-net-pci,netdev=n0,romfile=", "-device", "virtio-rng-pci"}
}

// ipxeDisk makes a FAT disk with the distribution's iPXE, which runs
// autoexec.ipxe of the disk that it was loaded from.
func ipxeDisk(t *testing.T, a arch.Arch, script string) string {
	t.Helper()
	program := packageFile(t, a, "ipxe", "usr/lib/ipxe/ipxe-"+a.Name+".efi")
	dir := t.TempDir()
	disk, autoexec := filepath.Join(dir, "ipxe.img"), filepath.Join(dir, "autoexec.ipxe")
	if err := os.WriteFile(autoexec, []byte("#!ipxe\ndhcp\nchain "+script+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "mtools", "mformat", "-i", disk, "-C", "-T", "32768", "::")
	run(t, "mtools", "mmd", "-i", disk, "::/EFI", "::/EFI/BOOT")
	run(t, "mtools", "mcopy", "-i", disk, program, "::/EFI/BOOT/"+a.EFIBootFile)
	run(t, "mtools", "mcopy", "-i", disk, autoexec, "::/autoexec.ipxe")
	return disk
}

// httpBoot has the firmware itself load the ISO into a RAM disk (UEFI 2.10,
// section 24.7), where init finds the root as on any other medium.
func (l *lab) httpBoot(t *testing.T, r row, a arch.Arch) guest {
	t.Helper()
	return l.http(t, r, a, filepath.Join(l.builds[r.Kernel], a.Name, "iso"), "minimal-"+a.Name+".iso")
}

// httpUKI has the firmware load the UKI of a disk image. The root is on a disk
// that nothing else could be booted from.
func (l *lab) httpUKI(t *testing.T, r row, a arch.Arch) guest {
	t.Helper()
	dir := filepath.Join(l.builds[r.Kernel], a.Name)
	disk, served := filepath.Join(dir, "raw", "minimal-"+a.Name+".img"), t.TempDir()
	esp := fmt.Sprintf("%s@@%d", disk, partitionStart(t, disk, 1))
	run(t, "mtools", "mcopy", "-i", esp, "::EFI/BOOT/"+a.EFIBootFile, filepath.Join(served, "uki.efi"))
	g := l.http(t, r, a, served, "uki.efi")
	root := filepath.Join(dir, "kernel-initrd", "root.img")
	g.args = append(g.args, "-drive", "if=none,id=d0,readonly=on,format=raw,file="+vm.Escape(root), "-device", "virtio-blk-pci,drive=d0")
	return g
}

// http is a machine whose firmware loads a file of a folder.
func (l *lab) http(t *testing.T, r row, a arch.Arch, dir, name string) guest {
	t.Helper()
	share := r.fileName()
	url := l.web.share(share, dir) + name
	vars := filepath.Join(t.TempDir(), "vars.fd")
	writeBootURI(t, a, vars, url)
	args := append(vm.Base(a, 0), vm.Firmware(a, vars)...)
	args = append(append(args, "-netdev", "user,id=n0"), plainNetwork()...)
	digest := readManifest(t, filepath.Join(l.builds[r.Kernel], a.Name)).ComposefsDigest
	return guest{args: args, digest: digest, check: func(t *testing.T) {
		l.web.asked(t, "UefiHttpBoot/", "/"+share+"/"+name)
	}}
}
