// Package boot is the core of Muster: it knows what a machine is, what it
// said, and what it gets next.
//
// Every protocol turns one request into a Sighting and asks a Decider
// (boot/engine); the answer is a Decision. Decide itself is pure: no clock, no I/O, no
// randomness, no logging. The same function answers live requests and
// "muster explain".
//
// The vocabulary:
//
//	Sighting   what one request told us (sighting.go)
//	Decision   what leaves: a reply, the writes it needs, a hold, and Why (decision.go)
//	Policy     everything that is configuration at this moment (policy.go)
//	View       the store by point look-ups (store.go)
//	Host       one machine on the roll; Lease one address; Template one set of
//	           boot files; Event one thing that changed (one file each)
//	Order      what a person or a program asks; Apply says what it changes (order.go)
//
// The rules are the ordered list in decide.go, one file for each rule. The package
// imports the standard library only and opens no socket and no file; a test holds
// that. A rule about what a machine may have belongs here and nowhere else.
package boot
