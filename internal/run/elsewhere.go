//go:build !linux

// elsewhere.go: stands in on other systems for what only Linux can do.

package run

// CanRaw reports whether the process may send raw frames.
func CanRaw() bool { return false }
