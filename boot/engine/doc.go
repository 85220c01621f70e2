// Package engine puts boot.Decide on a live store. A front asks Next; a
// decision that writes is made again inside the transaction that commits it, and
// only then does the reply leave. Do carries out orders in the same way.
//
// What it remembers and may forget is here too: offers and pools, who was heard
// where, the request log, files on their way. All of it is bounded, and rebuilt
// after a restart; the store alone is the truth.
//
// It decides nothing: a rule about what a machine may have belongs into boot, and
// what stopped one into boot/diagnose.
package engine
