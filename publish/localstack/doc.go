// Package localstack is an OCI registry and a complete keyless Sigstore
// instance in one process on loopback: OIDC issuer, Fulcio, SCT signer,
// timestamp authority and Rekor v2. It lets a laptop, a test or an air-gapped
// site run the production push, sign and verify code without a network.
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
// # Threat model
//
// This is a development CA. Keys and the bearer token of the OIDC endpoint lie
// in Dir unencrypted: whoever can read it can certify any name. Whoever can
// reach the port, which is every user of the machine, can push to the registry,
// delete from it and append to the log. Hence only loopback addresses are
// accepted; requests that name another host are refused, so that a web page
// cannot come in by DNS rebinding; and the default names are under example.org,
// which RFC 2606 reserves.
//
// Its trusted root belongs in one rule of its own, together with this stack's
// identity and issuer. It must never be merged with a production root under
// shared patterns: Fulcio certifies whatever issuer name it is configured with.
// For that reason the production binary does not import this package.
//
// The SCT signer has no route and keeps no log: it signs what Fulcio submits,
// so that development can have production's policy (SCT, timestamp,
// transparency log). Fulcio takes certificate times from the system clock,
// whatever Config.Now says, and its certificates live for ten minutes.
package localstack
