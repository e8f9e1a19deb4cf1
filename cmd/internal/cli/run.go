package cli

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/cmd/internal/vm"
)

func newRun(env Env) *cobra.Command {
	var archName, dir, medium string
	var memory int
	c := &cobra.Command{
		Use:   "run FAMILY",
		Short: "Boot a built artifact in QEMU, its serial console in this terminal",
		Long: `Boots an artifact from the output folder in QEMU without acceleration, on any
host for any architecture. FAMILY is one of ` + strings.Join(vm.Families(), ", ") + `.
Ctrl-A X ends the machine. Changes to the disk are dropped.`,
		Example: "  bootsmith run raw --arch arm64\n  bootsmith run iso --medium usb",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			a, err := arch.Lookup(archName)
			if err != nil {
				return fault.Inputf("%w", err)
			}
			scratch, err := os.MkdirTemp("", "bootsmith-run-")
			if err != nil {
				return fault.Buildf("making a scratch folder: %w", err)
			}
			defer os.RemoveAll(scratch)
			m := vm.Machine{Arch: a, Dir: filepath.Join(dir, a.Name), Family: args[0], Medium: medium, MemoryMiB: memory, Scratch: scratch}
			return fault.Default(fault.Build, m.Run(c.Context(), env.Stdin, env.Stdout, true))
		},
	}
	c.Flags().StringVar(&archName, "arch", runtime.GOARCH, "architecture to boot")
	c.Flags().StringVarP(&dir, "output-dir", "o", "build", "folder that build wrote")
	c.Flags().StringVar(&medium, "medium", "", "what the machine boots from: initrd or disk for kernel-initrd, virtio, scsi, nvme, usb or sata for disk images and ISOs, optical or usb-optical for ISOs (default: the first of the family's)")
	c.Flags().IntVar(&memory, "memory", vm.DefaultMemory, "guest memory in MiB")
	return c
}
