// Package simclient is a machine in software: it boots from the network as the
// firmware of a kind of machine does, against whatever server answers, and says
// of every step what it got. One process holds a thousand of them.
//
// It owns the client's side of the wire: what each kind of firmware sends
// (kind.go, message.go, six.go), how it chooses among offers (offer.go,
// lease6.go), and how it loads (tftp.go, http.go, shim.go). The loaders themselves
// are not run: their names say what the machine becomes, and package script runs
// what they read.
//
// It must not disturb the host that it runs on, and undoes what it added
// (address_linux.go). It knows no server of ours: whatever a server sends is
// hostile, so bytes, time, redirects and script steps are bounded and nothing
// panics. It imports nothing of the server, so that it shares no mistake with what
// it judges.
package simclient
