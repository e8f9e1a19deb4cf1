package publish_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/publish"
	"github.com/powernode/bootsmith/publish/localstack"
)

func TestDelete(t *testing.T) {
	s := startStack(t, localstack.Config{})
	for name, transport := range map[string]func() http.RoundTripper{
		"with api":    func() http.RoundTripper { return &spy{} },
		"without api": func() http.RoundTripper { return withoutReferrersAPI() },
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, s)
			o.Repository += "/" + strings.ReplaceAll(name, " ", "-")
			o.Access.Transport = transport()
			pubs := publishBuild(t, writeBuild(t, []string{"amd64"}, "iso", "raw"), o)
			indexRef := pubs.Repository + ":" + pubs.Index.Tag
			for i, p := range pubs.Publications {
				if gone, err := publish.DeleteIndexIfEmpty(t.Context(), o.Access, indexRef); gone || err != nil {
					t.Errorf("the index of %d manifests: gone %v, error %v", 2-i, gone, err)
				}
				for range 2 { // the second time nothing is left to do
					if err := publish.Delete(t.Context(), o.Access, p.OCIRef, p.Tag, "no-such-tag"); err != nil {
						t.Fatal(err)
					}
				}
				for _, ref := range []string{p.OCIRef, pubs.Repository + ":" + p.Tag, strings.TrimPrefix(p.SBOMURL, "oci://")} {
					if _, err := publish.Resolve(t.Context(), o.Access, ref); err == nil {
						t.Errorf("%s is still there", ref)
					}
				}
			}
			for range 2 {
				if gone, err := publish.DeleteIndexIfEmpty(t.Context(), o.Access, indexRef); !gone || err != nil {
					t.Errorf("the empty index: gone %v, error %v", gone, err)
				}
			}
			if _, err := publish.Resolve(t.Context(), o.Access, indexRef); err == nil {
				t.Error("the index is still there")
			}
		})
	}
	if err := publish.Delete(t.Context(), publish.Access{}, s.Registry+"/x/y:tag"); fault.ClassOf(err) != fault.Input {
		t.Errorf("error %v, want one of class Input", err)
	}
}

func TestDeleteKeepsATagThatMoved(t *testing.T) {
	s := startStack(t, localstack.Config{})
	pubs := publishBuild(t, writeBuild(t, []string{"amd64"}, "iso", "qcow2"), options(t, s))
	iso, qcow2 := find(t, pubs, "iso"), find(t, pubs, "qcow2")
	if err := publish.Delete(t.Context(), publish.Access{}, iso.OCIRef, iso.Tag, qcow2.Tag); err != nil {
		t.Fatal(err)
	}
	if d, err := publish.Resolve(t.Context(), publish.Access{}, pubs.Repository+":"+qcow2.Tag); err != nil || d != qcow2.OCIDigest {
		t.Errorf("the other tag names %s (%v)", d, err)
	}
}
