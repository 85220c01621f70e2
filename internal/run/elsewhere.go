//go:build !linux

// elsewhere.go: what only Linux can do, on other systems.

package run

// CanRaw reports the privilege to send raw frames.
func CanRaw() bool { return false }
