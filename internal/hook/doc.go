// Package hook tells others what happened: it reads events from the store at its
// own pace and hands each to the webhooks and commands of the configuration, in
// order and at least once. It owns a cursor for each of them, the retries, and
// the decision to give one event up.
//
// It must not delay an answer to a machine: it reads short pages, writes a
// number, and nobody waits for it. Where events go, and with which key, comes
// from its caller alone; nothing in an event or in an answer steers it.
package hook
