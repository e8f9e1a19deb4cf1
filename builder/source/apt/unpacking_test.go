package apt

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"golang.org/x/sync/singleflight"

	"github.com/powernode/bootsmith/builder/source/deb"
)

// gate holds back packages until it is opened, and counts the requests.
type gate struct {
	http.RoundTripper
	open  chan struct{}
	count int
}

func (g *gate) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, ".deb") {
		g.count++
		<-g.open
	}
	return g.RoundTripper.RoundTrip(r)
}

// gated returns an archive whose packages wait at a gate, and one of them.
func gated(t *testing.T) (*Archive, *gate, Package) {
	t.Helper()
	repo := simpleRepo()
	a := archiveOf(t, repo)
	g := &gate{RoundTripper: repo, open: make(chan struct{})}
	a.Client, a.Joint = &http.Client{Transport: g}, new(singleflight.Group)
	res, err := a.Resolve(context.Background(), []string{"lib"})
	if err != nil {
		t.Fatal(err)
	}
	return a, g, res.Packages[0]
}

// TestUnpackingTheSameAtOneTime asks for a package while it is unpacked.
func TestUnpackingTheSameAtOneTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, g, pkg := gated(t)
		s := openStore(t)
		var wg sync.WaitGroup
		var got [2]*deb.Package
		for i := range got {
			wg.Go(func() {
				p, err := a.Unpack(context.Background(), s, pkg)
				if err != nil {
					t.Error(err)
				}
				got[i] = p
			})
		}
		synctest.Wait() // one waits at the gate, the other for it
		close(g.open)
		wg.Wait()
		if g.count != 1 || got[0] == nil || got[0] != got[1] {
			t.Errorf("%d requests; %p, %p", g.count, got[0], got[1])
		}
	})
}

// TestUnpackingWhatIsBeingFetched asks for a package that is on its way.
func TestUnpackingWhatIsBeingFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, g, pkg := gated(t)
		s := openStore(t)
		var wg sync.WaitGroup
		var done, total int64
		unpack := func() {
			if _, err := a.Unpack(context.Background(), s, pkg); err != nil {
				t.Error(err)
			}
		}
		fetch := func() {
			if err := a.Fetch(context.Background(), []Package{pkg}, func(d, of int64) { done, total = d, of }); err != nil {
				t.Error(err)
			}
		}
		wg.Go(unpack)
		synctest.Wait() // it downloads
		wg.Go(fetch)
		synctest.Wait() // it waits for that
		close(g.open)
		wg.Wait()
		if g.count != 1 || done != pkg.Size || total != pkg.Size {
			t.Errorf("%d requests; %d of %d bytes, the package has %d", g.count, done, total, pkg.Size)
		}
	})
}
