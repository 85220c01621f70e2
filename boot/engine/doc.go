// Package engine runs boot.Decide on a live store. A front calls Next. A decision
// that writes is made again inside the transaction that commits it, and the reply
// leaves after the commit. Do carries out orders in the same way.
//
// The engine's memory is here too: offers and pools, which machine was heard where,
// the request log, files on their way. All of it is bounded, may be forgotten and is
// rebuilt after a restart; the store alone is the truth.
//
// It decides nothing. A rule about what a machine may have belongs in boot; finding
// out what stopped a machine belongs in boot/diagnose.
package engine
