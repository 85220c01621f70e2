// Package admin is the API over the daemon's Unix socket, and the client that
// the commands use. It writes only through Engine.Do and never shares a
// listener with boot files.
package admin
