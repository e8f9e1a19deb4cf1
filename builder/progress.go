package builder

import (
	"fmt"
	"sync"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/source/apt"
)

// fetchProgress reports downloads in steps of a tenth.
func (c Config) fetchProgress(a arch.Arch) apt.Progress {
	var mu sync.Mutex
	reported := int64(-1)
	return func(done, total int64) {
		mu.Lock()
		defer mu.Unlock()
		if total <= 0 {
			return
		}
		tenth := done * 10 / total
		if tenth == reported {
			return
		}
		reported = tenth
		c.Report(Event{
			Time: c.Now(), Stage: a.Name + "/fetch", State: Progress,
			Detail: fmt.Sprintf("%.1f of %.1f MiB", float64(done)/(1<<20), float64(total)/(1<<20)),
		})
	}
}
