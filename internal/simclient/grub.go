package simclient

import "context"

func (r *run) shim(ctx context.Context, f *loaded) error { return nil }
func (r *run) grub(ctx context.Context, f *loaded) error { return nil }
