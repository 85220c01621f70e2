// Package admin is the API: on the daemon's Unix socket, and on a TCP port for who shows
// a token. Package client has its shapes. It writes only through Engine.Do and never shares a
// listener with boot files.
package admin
