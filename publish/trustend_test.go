package publish

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
)

type testRoot struct {
	root.BaseTrustedMaterial
	cas  []root.CertificateAuthority
	tsas []root.TimestampingAuthority
	logs map[string]*root.TransparencyLog
}

func (r testRoot) FulcioCertificateAuthorities() []root.CertificateAuthority { return r.cas }
func (r testRoot) TimestampingAuthorities() []root.TimestampingAuthority     { return r.tsas }
func (r testRoot) RekorLogs() map[string]*root.TransparencyLog               { return r.logs }

func TestTrustEnd(t *testing.T) {
	year := func(y int) time.Time { return time.Date(y, 3, 1, 0, 0, 0, 0, time.UTC) }
	ca := func(cert, period time.Time) root.CertificateAuthority {
		return &root.FulcioCertificateAuthority{Root: &x509.Certificate{NotAfter: cert}, ValidityPeriodEnd: period}
	}
	tsa := func(leaf, other time.Time) root.TimestampingAuthority {
		return &root.SigstoreTimestampingAuthority{
			Leaf: &x509.Certificate{NotAfter: leaf}, Root: &x509.Certificate{NotAfter: other}, Intermediates: []*x509.Certificate{{NotAfter: other}},
		}
	}
	log := func(ends ...time.Time) map[string]*root.TransparencyLog {
		logs := map[string]*root.TransparencyLog{}
		for i, e := range ends {
			logs[string(rune('a'+i))] = &root.TransparencyLog{ValidityPeriodEnd: e}
		}
		return logs
	}
	never := time.Time{}
	for name, c := range map[string]struct {
		trusted testRoot
		want    TrustEnd
	}{
		"nothing":         {testRoot{}, TrustEnd{}},
		"no end":          {testRoot{logs: log(never, year(2020))}, TrustEnd{}},
		"the certificate": {testRoot{cas: []root.CertificateAuthority{ca(year(2030), never)}}, TrustEnd{"certificate authority", year(2030)}},
		"the period":      {testRoot{cas: []root.CertificateAuthority{ca(year(2030), year(2028))}}, TrustEnd{"certificate authority", year(2028)}},
		"a successor": {testRoot{cas: []root.CertificateAuthority{ca(year(2030), year(2021)), ca(year(2035), never)}},
			TrustEnd{"certificate authority", year(2035)}},
		"the first kind": {testRoot{cas: []root.CertificateAuthority{ca(year(2035), never)}, tsas: []root.TimestampingAuthority{tsa(year(2029), year(2036))}, logs: log(year(2031))},
			TrustEnd{"timestamp authority", year(2029)}},
		"a closed log": {testRoot{cas: []root.CertificateAuthority{ca(year(2035), never)}, logs: log(year(2024), year(2025))}, TrustEnd{"transparency log", year(2025)}},
	} {
		if got := findTrustEnd(&c.trusted); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
	end := TrustEnd{"certificate authority", year(2030)}
	for now, want := range map[time.Time]string{
		year(2030).Add(-31 * 24 * time.Hour): "", year(2030).Add(-29 * 24 * time.Hour): "ends on 2030-03-01",
		year(2030): "ended on 2030-03-01", year(2031): "ended on 2030-03-01",
	} {
		if got := end.warning(now); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("at %v: warning %q, want %q", now, got, want)
		}
	}
}
