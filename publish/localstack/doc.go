// Package localstack is an OCI registry and a complete keyless Sigstore
// instance in one process: OIDC issuer, Fulcio, SCT signer, timestamp authority
// and Rekor v2. It lets a laptop, a test or an air-gapped site run the production
// push, sign and verify code without a network, and a small team a private
// instance.
//
// # Routes
//
//	/v2/                        OCI distribution, with the referrers API
//	/oidc/                      discovery, JWKS, and an Actions token endpoint
//	/fulcio/api/{v1,v2}/        Fulcio, both APIs
//	/tsa/api/v1/timestamp       RFC 3161 timestamps
//	/rekor/api/v2/              Rekor v2: log/entries, checkpoint, tile/
//	/healthz                    200 once everything is up
//
// # State
//
// Everything lives in Config.Dir (directories 0700, files 0600): keys and
// certificate chains, the log, blobs and manifests, the last port. Files are
// written to a temporary name and renamed, so the process may be killed at any
// moment. A stack started again on the same directory has the same
// trusted_root.json, byte for byte, whatever its port; signing_config.json
// holds URLs and so follows the port. The issuer and the identity in
// certificates are names, not addresses: they do not contain the port either,
// which is why Fulcio is handed the issuer's key and needs no discovery.
//
// # A private instance
//
// With Config.Issuers, Fulcio takes tokens of those issuers only, certificates are
// logged through Config.Log, and neither the registry nor the stack's own issuer is
// served; then any address may be listened on, behind a proxy with TLS.
//
// Back up Dir while the process is stopped: who loses it can verify what was signed,
// by trusted_root.json, but not sign under that root again. To replace keys, start
// on a new directory and give clients one trusted_root.json with the services of
// both, those of the old one with validFor.end set; keep them as long as their
// signatures are to verify.
//
// # Threat model
//
// What a signature with this stack proves is that whoever made it had a token of
// the named issuer for the named identity at the time that the timestamp says, and
// that the signature is in the log. It rests on the issuer, on this process and on
// Dir.
//
//   - Who can read Dir has the keys, which are unencrypted, of the certificate
//     authority, the SCT signer, the timestamp authority and the log at once, and
//     can make a signature in any name and of any time that verifies. There is no
//     second party to notice: no independent log of certificates (the SCT signer
//     keeps none) and no witness of the log. The remedy is a new directory and a
//     trust root without the old services; old signatures then count for nothing.
//     Hence it should be a machine of its own, with nobody else on it.
//   - Who runs the issuer, or can make it issue tokens with chosen claims, can sign
//     in every name of that issuer, and in no other issuer's. Patterns for identity
//     and issuer bind both.
//   - Who steals a token can sign in its name until it expires, or a certificate's
//     key, which lives in a process' memory, for ten minutes.
//   - Who is on the network between clients and the stack sees tokens unless TLS is
//     in front of it, and can hold up signing. Forging needs the keys: clients
//     verify every answer against trusted_root.json, so how that file reaches them
//     matters more.
//   - Who can reach the stack can have anything timestamped and appended to the
//     log, which says nothing of its author, and fill the disk so.
//   - The log is append-only for those who remember its checkpoints. Monitoring
//     means keeping them, comparing (/rekor/api/v2/checkpoint, tiles), and reading
//     the entries' certificates for names that should not have signed.
//
// Without Config.Issuers it is a development CA: the bearer token of the OIDC
// endpoint lies in Dir as well, and whoever can reach the port, which is every user
// of the machine, can push to the registry, delete from it and append to the log.
// Hence only loopback addresses are accepted then; requests that name another host
// are refused, so that a web page cannot come in by DNS rebinding; and the default
// names are under example.org, which RFC 2606 reserves.
//
// A trusted root of this stack belongs in one rule of its own, together with its
// identities and issuer. It must never be merged with another instance's under
// shared patterns: Fulcio certifies whatever issuer name it is configured with.
// For that reason the production binary does not import this package: a runner that
// builds and signs must not be able to certify itself.
//
// The SCT signer has no route and keeps no log: it signs what Fulcio submits,
// so that development can have production's policy (SCT, timestamp,
// transparency log). Fulcio takes certificate times from the system clock,
// whatever Config.Now says, and its certificates live for ten minutes.
package localstack
