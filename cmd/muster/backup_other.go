//go:build !linux

// backup_other.go: other systems keep no store.

package main

import (
	"context"
	"io"
	"time"
)

type restored struct {
	Made    time.Time `json:"made"`
	Records int       `json:"records"`
	Files   int       `json:"files"`
	Notes   []string  `json:"notes"`
}

func backupStore(context.Context, io.Writer, string, string, bool, string) error { return errElsewhere }

func restoreStore(context.Context, string, string, string, bool, string, string) (out restored, err error) {
	return out, errElsewhere
}
