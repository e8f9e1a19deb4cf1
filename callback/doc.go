// Package callback tells the platform that an artifact was built: the event,
// its signatures, and a sender that does not lose it.
//
// One event is one JSON document per (family, architecture), POSTed with two
// kinds of signature over the same raw body:
//
//   - X-Powernode-Signature: "sha256=" and the lower-case hex HMAC-SHA256 of the
//     body, keyed with the secret's bytes exactly as they were handed out;
//   - the headers of the Standard Webhooks specification 1.0 (webhook-id,
//     webhook-timestamp, webhook-signature), which also cover an identifier and
//     the time of sending, and may carry several signatures during a rotation.
//
// The package imports nothing but the standard library, so that a platform can
// take it for its receiving side without taking the build system with it.
package callback
