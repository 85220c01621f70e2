// Package hook sends events to others. It reads them from the store at its own pace
// and hands each to the webhooks and commands of the configuration, in order and at
// least once. It owns a cursor for each receiver, the retries, and the decision to
// give an event up.
//
// It must not delay an answer to a machine: it reads short pages, writes only its
// cursor, and nobody waits for it. Only its caller says where events go and with which
// key; nothing in an event or in a receiver's answer can change that.
package hook
