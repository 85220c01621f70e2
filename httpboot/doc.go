// Package httpboot serves boot files and scripts over HTTP/1.1 to firmware,
// iPXE and installers.
//
// Many clients are firmware, and firmware sets the rules: never a redirect,
// HEAD answered like GET, an exact Content-Length, no error without a body, no
// compression, no guessed content type. The package has a router of its own
// because net/http's cleans paths by redirecting. boot decides what a path
// means.
package httpboot
