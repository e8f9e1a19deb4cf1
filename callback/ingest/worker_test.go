package ingest

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/powernode/bootsmith/callback"
)

// blocking is an answer that waits for release and says when it was asked.
func blocking(ev Evidence) (answer func(context.Context) (Evidence, error), asked chan struct{}, release chan struct{}) {
	asked, release = make(chan struct{}, 10), make(chan struct{})
	return func(context.Context) (Evidence, error) {
		asked <- struct{}{}
		<-release
		return ev, nil
	}, asked, release
}

// TestSecondServiceTakesOver opens a second service while the first hangs in
// a verification; when the first comes back, its outcome is not written.
func TestSecondServiceTakesOver(t *testing.T) {
	b := newBench(t)
	e := event(1)
	stale := evidence(e)
	stale.Identity = strings.Replace(identity, "build.yaml", "stale.yaml", 1)
	answer, asked, release := blocking(stale)
	b.registry.set(e.OCIRef, answer)
	b.run(b.service)
	id := b.send(e, callback.StatusQueued)
	<-asked
	b.await(id, StatusVerifying, StatusVerifying)
	b.registry.push(e, nil)
	b.run(b.open())
	p := b.await(id, StatusPublished, StatusPublished)
	close(release)
	if err := b.service.Close(); err != nil {
		t.Fatal(err)
	}
	b.service = b.open()
	again := b.await(id, StatusPublished, StatusPublished)
	if p.CosignIdentity != identity || again.CosignIdentity != identity {
		t.Errorf("identities %q, %q", p.CosignIdentity, again.CosignIdentity)
	}
}

// TestCloseGivesWorkBack stops a service in the middle of a verification.
func TestCloseGivesWorkBack(t *testing.T) {
	b := newBench(t)
	e := event(1)
	asked := make(chan struct{})
	b.registry.set(e.OCIRef, func(ctx context.Context) (Evidence, error) {
		close(asked)
		<-ctx.Done()
		return Evidence{}, ctx.Err()
	})
	b.run(b.service)
	id := b.send(e, callback.StatusQueued)
	<-asked
	if err := b.service.Close(); err != nil {
		t.Fatal(err)
	}
	b.service = b.open()
	b.await(id, StatusQueued, StatusQueued)
	b.registry.push(e, nil)
	b.run(b.service)
	b.await(id, StatusPublished, StatusPublished)
}

// TestChangedEventReplacesAVerification: the newest word counts.
func TestChangedEventReplacesAVerification(t *testing.T) {
	b := newBench(t)
	e := event(1)
	answer, asked, release := blocking(evidence(e))
	b.registry.set(e.OCIRef, answer)
	b.run(b.service)
	id := b.send(e, callback.StatusQueued)
	<-asked
	changed := event(2)
	changed.GitSHA = e.GitSHA
	b.registry.push(changed, nil)
	if again := b.send(changed, callback.StatusQueued); again != id {
		t.Errorf("the changed build is another publication")
	}
	close(release)
	p := b.await(id, StatusPublished, StatusPublished)
	if p.OCIRef != changed.OCIRef || p.SHA256 != changed.SHA256 {
		t.Errorf("published %s", p.OCIRef)
	}
}

// TestChangedBuildOfAPublishedRevision keeps the old facts until the new ones
// are verified.
func TestChangedBuildOfAPublishedRevision(t *testing.T) {
	b := newBench(t)
	b.run(b.service)
	e := event(1)
	b.registry.push(e, nil)
	id := b.send(e, callback.StatusQueued)
	b.await(id, StatusPublished, StatusPublished)
	changed := event(2)
	changed.GitSHA = e.GitSHA
	answer, asked, release := blocking(evidence(changed))
	b.registry.set(changed.OCIRef, answer)
	b.send(changed, callback.StatusQueued)
	<-asked
	if p := b.await(id, StatusPublished, StatusReverifying); p.OCIRef != e.OCIRef || !p.Current {
		t.Errorf("%+v", p)
	}
	close(release)
	if p := b.await(id, StatusPublished, StatusPublished); p.OCIRef != changed.OCIRef || !p.Current {
		t.Errorf("%+v", p)
	}
}

// TestKilledService kills a process with SIGKILL during a verification, several
// times, and lets another one finish.
func TestKilledService(t *testing.T) {
	if db := os.Getenv("BOOTSMITH_TEST_DB"); db != "" {
		hang := make(chan struct{})
		registry := &registry{hold: map[string]func(context.Context) (Evidence, error){
			event(1).OCIRef: func(context.Context) (Evidence, error) {
				_, _ = os.Stdout.WriteString("verifying\n")
				<-hang
				return Evidence{}, nil
			},
		}}
		cfg := newConfig(t, registry)
		cfg.DB = db
		s, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Fatal(s.Run(t.Context()))
	}
	b := newBench(t)
	b.registry.push(event(1), nil)
	id := b.send(event(1), callback.StatusQueued)
	for range 2 {
		killDuringVerification(t, b.cfg.DB)
		b.await(id, StatusVerifying, StatusVerifying)
	}
	b.run(b.service)
	if p := b.await(id, StatusPublished, StatusPublished); !p.Current {
		t.Errorf("%+v", p)
	}
}

func killDuringVerification(t *testing.T, db string) {
	child := exec.Command(os.Args[0], "-test.run=^TestKilledService$")
	child.Env = append(os.Environ(), "BOOTSMITH_TEST_DB="+db)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	if n, err := out.Read(buf); !strings.HasPrefix(string(buf[:n]), "verifying") {
		t.Errorf("the child says %q, %v", buf[:n], err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
}

// TestPoisonIsGivenUp: an event that kills the process each time doesn't do so
// for ever.
func TestPoisonIsGivenUp(t *testing.T) {
	b := newBench(t)
	e := event(1)
	b.registry.push(e, nil)
	id := b.send(e, callback.StatusQueued)
	for range maxTries {
		err := b.service.store.update(t.Context(), func(x *tx) error {
			if err := x.resume(testNow); err != nil {
				return err
			}
			_, err := x.take(testNow)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	b.run(b.service)
	b.await(id, StatusFailed, StatusVerificationAborted)
	if n := b.registry.count(); n != 0 {
		t.Errorf("%d verifications", n)
	}
	b.send(e, callback.StatusQueued)
	b.await(id, StatusPublished, StatusPublished)
}

func TestRunOnceAndNotAfterClose(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.service.Run(ctx); err != nil {
		t.Error(err)
	}
	if err := b.service.Run(t.Context()); err == nil {
		t.Error("ran twice")
	}
	s := b.open()
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if err := s.Run(t.Context()); err == nil {
		t.Error("ran after Close")
	}
}

// TestWorkersAreBounded: no more verifications at a time than configured.
func TestWorkersAreBounded(t *testing.T) {
	b := newBench(t)
	var mu sync.Mutex
	var now, most int
	for n := range 6 {
		e := event(n)
		b.registry.set(e.OCIRef, func(context.Context) (Evidence, error) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(30 * time.Millisecond)
			mu.Lock()
			now--
			mu.Unlock()
			return evidence(e), nil
		})
		b.send(e, callback.StatusQueued)
	}
	b.run(b.service)
	for range 500 {
		l, err := b.service.Publications(t.Context(), Filter{Status: StatusPublished}, Page{})
		if err != nil {
			t.Fatal(err)
		}
		if len(l.Items) == 6 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if most != 2 {
		t.Errorf("%d at a time", most)
	}
}
