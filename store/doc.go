// Package store keeps boot's records in ordered key tables: the codec, the
// indexes, the schema version, and the one writer that commits in groups. What
// is left to a Backend (store/bolt on disk, store/mem in tests) is to read a
// snapshot and to commit a list of changes.
//
// Key layout, one table a line:
//
//	host           big-endian ID -> JSON
//	host.name      name -> ID            also host.mac, host.uuid, host.serial,
//	                                     host.duid, host.addr, host.port: uniqueness is a key
//	lease          network 00 address -> binary (leaseCodec)
//	holder         network 00 holder -> address
//	template       big-endian ID -> JSON
//	template.name  name -> ID of the newest version
//	image          name -> JSON
//	inventory      big-endian ID of its host -> JSON; not kept in memory
//	event          big-endian number -> JSON
//	counter        name -> big-endian number
//	secret         name -> bytes
//	meta           "schema" -> big-endian number
//
// Every value begins with one byte that names its encoding, so a later version
// can change one record at a time. An index entry is believed only when the
// record it points to agrees.
//
// The package must not decide anything about machines, and its backends must
// not know what a record means.
package store
