package cli

import (
	"os"
	"os/user"
	"runtime"
	"strconv"

	"github.com/powernode/bootsmith/builder/source/bootstrap"
)

// newHost describes the machine that we run on.
func newHost(env Env) bootstrap.Host {
	h := bootstrap.Host{
		Root: os.DirFS(env.HostRoot), UID: uint32(os.Getuid()), Arch: runtime.GOARCH,
		SearchPath: env.Getenv("PATH"), TempDir: firstOf(env.Getenv("TMPDIR"), "/tmp"), Now: env.Now,
	}
	// A user without a name has no subordinate ids either, which is reported.
	h.User = strconv.Itoa(os.Getuid())
	if u, err := user.LookupId(h.User); err == nil {
		h.User = u.Username
	}
	return h
}
