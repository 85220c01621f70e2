// Package run is the plumbing of the process: tasks that start and stop
// together, what systemd wants to hear, who holds a port, and interfaces that
// come and go. It imports nothing of ours and knows nothing of machines.
package run
