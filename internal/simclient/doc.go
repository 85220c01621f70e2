// Package simclient is a machine in software. It boots from the network as the
// firmware of one kind of machine does, against whatever server answers, and
// reports the result of every step. One process holds a thousand of them.
//
// It owns the client's side of the wire: what each kind of firmware sends
// (kind.go, message.go, six.go), how it chooses among offers (offer.go,
// lease6.go), and how it loads (tftp.go, http.go, shim.go). The loaders
// themselves are not run. A loader's name decides what the machine becomes, and
// package script runs the scripts that loaders read.
//
// It must not disturb the host that it runs on, and removes what it added
// (address_linux.go). It treats everything that a server sends as hostile:
// bytes, time, redirects and script steps are bounded, and nothing panics. It
// imports nothing of the server, so that it cannot share a mistake with the
// server that it tests.
package simclient
