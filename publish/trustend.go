package publish

import (
	"crypto/x509"
	"fmt"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// TrustEnd says until when a trust root covers new signatures.
type TrustEnd struct {
	Part string // the service whose belief ends first: "certificate authority", …
	// End is when the last service of that kind ends; zero when none ends.
	End time.Time
}

// trustEndWarning is how long before its end a trust root is warned about.
const trustEndWarning = 30 * 24 * time.Hour

// warning says that a trust root has ended or is about to; empty when not.
// Signatures that were made before stay valid.
func (e TrustEnd) warning(now time.Time) string {
	switch {
	case e.End.IsZero() || now.Add(trustEndWarning).Before(e.End):
		return ""
	case now.Before(e.End):
		return fmt.Sprintf("the trust root's %s ends on %s: get a newer trusted_root.json until then", e.Part, e.End.Format(time.DateOnly))
	}
	return fmt.Sprintf("the trust root's %s ended on %s: newer signatures can't be verified with it; get a newer trusted_root.json", e.Part, e.End.Format(time.DateOnly))
}

// findTrustEnd looks at every service of a trust root. Of each kind the last
// counts, since those that were replaced stay in it; of the kinds the first.
func findTrustEnd(trusted root.TrustedMaterial) TrustEnd {
	var first TrustEnd
	note := func(part string, ends []time.Time) {
		last := lastEnd(ends)
		if !last.IsZero() && (first.End.IsZero() || last.Before(first.End)) {
			first = TrustEnd{Part: part, End: last.UTC()}
		}
	}
	var cas, tsas []time.Time
	for _, ca := range trusted.FulcioCertificateAuthorities() {
		if c, ok := ca.(*root.FulcioCertificateAuthority); ok {
			cas = append(cas, chainEnd(c.ValidityPeriodEnd, append(c.Intermediates, c.Root)))
		}
	}
	for _, tsa := range trusted.TimestampingAuthorities() {
		if c, ok := tsa.(*root.SigstoreTimestampingAuthority); ok {
			tsas = append(tsas, chainEnd(c.ValidityPeriodEnd, append(c.Intermediates, c.Root, c.Leaf)))
		}
	}
	note("certificate authority", cas)
	note("timestamp authority", tsas)
	note("transparency log", logEnds(trusted.RekorLogs()))
	note("certificate log", logEnds(trusted.CTLogs()))
	return first
}

func logEnds(logs map[string]*root.TransparencyLog) (ends []time.Time) {
	for _, l := range logs {
		ends = append(ends, l.ValidityPeriodEnd)
	}
	return ends
}

// lastEnd returns the latest of times, among which zero is never.
func lastEnd(ends []time.Time) (last time.Time) {
	for _, e := range ends {
		if e.IsZero() {
			return time.Time{}
		}
		if e.After(last) {
			last = e
		}
	}
	return last
}

// chainEnd returns when the first of a service's period and its certificates
// ends.
func chainEnd(period time.Time, chain []*x509.Certificate) time.Time {
	end := period
	for _, c := range chain {
		if c != nil && (end.IsZero() || c.NotAfter.Before(end)) {
			end = c.NotAfter
		}
	}
	return end
}
