// Package store keeps boot's records in ordered key tables. It has the encoding of
// each kind of record, the schema version, and the one writer, which commits in
// groups. A Backend (store/bolt on disk, store/mem in tests) only reads a snapshot
// and commits lists of changes.
//
// A kind is declared in one place (host.go, lease.go and so on): its tables,
// keys, encoding and lookups, with the part of boot's contract that it fulfils.
// kind.go does the rest, in the same way for all kinds. To add a kind, add a file
// here and its methods in boot/store.go.
//
// Key layout, one table a line:
//
//	host           big-endian ID -> JSON
//	host.name      name -> ID            also host.mac, host.uuid, host.serial,
//	                                     host.duid, host.addr, host.port: uniqueness is a key
//	lease          network 00 address -> binary (lease.go)
//	holder         network 00 holder -> address
//	template       big-endian ID -> JSON
//	template.name  name -> ID of the newest version
//	image          name -> JSON
//	param          scope -> JSON
//	user           name -> JSON
//	token          SHA-256 in hex -> JSON
//	token.name     name -> SHA-256
//	inventory      big-endian ID of its host -> JSON; not kept in memory
//	event          big-endian number -> JSON; not kept in memory
//	audit          the same for the audit trail
//	counter        name -> big-endian number; those of the hosts that name a template
//	               are kept with the hosts
//	secret         name -> bytes
//	meta           "schema" -> big-endian number
//
// The first byte of a record names its encoding, so a later version can change
// one kind at a time; entries of lookups, counters and meta have no such byte. An
// entry of a lookup counts only if the record that it leads to has that key.
//
// The package must not decide anything about machines, and its backends must
// not know what a record means.
package store
