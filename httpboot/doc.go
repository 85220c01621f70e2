// Package httpboot serves boot files and scripts over HTTP/1.1 to firmware,
// iPXE and installers.
//
// What firmware cannot bear rules it: no redirect ever, HEAD like GET, an exact
// Content-Length, no empty error body, no compression, no guessed content
// type. There is a router of its own because net/http's cleans paths by
// redirect. What a path means is boot's to decide.
package httpboot
