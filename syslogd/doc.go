// Package syslogd takes the log lines that machines send while they boot and
// install: RFC 3164 and RFC 5424 over UDP (RFC 5426) and TCP (RFC 6587).
//
// It turns bytes into facts and limits how much a machine may send. boot
// decides whose line it is and what it means. This package stores no line and
// sends no answer.
package syslogd
