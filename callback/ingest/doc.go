// Package ingest is the platform's side of a publication: it receives the
// webhook, verifies what it names, and records which disk image is current.
//
// It is a library around one http.Handler, without a framework. A publication
// is one row per (platform, family, architecture, revision), and moves as
//
//	queued → verifying → published
//	   │         └────→ failed
//	   └──────────────↗
//
// Each arrow is one transaction. The webhook is answered as soon as the event is
// in the database; Service.Run does the verification. What was queued or being
// verified when a process ended is taken up by the next one. A failed
// publication is tried again when its event is received again, a published one
// only when the event has changed; until the changed event is verified, the
// published facts stay as they are, so that nobody can take a publication down
// with the webhook's secret alone. Nor can it be used to publish: the signed
// publication predicate must equal the event field by field.
//
// A publication becomes current of its (platform, family, architecture) when it
// is published, unless the current one was built later; among builds of the
// same time the one received later wins. Parallel verification, retries and
// replayed webhooks therefore never move a platform backwards.
//
// The package knows no registry and no signature format: both are behind
// Verifier.
package ingest
