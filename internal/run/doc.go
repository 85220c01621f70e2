// Package run holds what any daemon needs: tasks that start and stop together,
// messages to systemd, the name of the process that holds a port, and
// interfaces that come and go. It imports nothing of ours and knows nothing of
// machines.
package run
