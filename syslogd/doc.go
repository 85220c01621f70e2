// Package syslogd takes the log lines that machines send while they boot and
// install: RFC 3164 and RFC 5424 over UDP (RFC 5426) and TCP (RFC 6587).
//
// It owns bytes to facts and the limits on how much anybody may say. Whose line
// it is and what it means is boot's to decide; this package keeps no line and
// answers nothing.
package syslogd
