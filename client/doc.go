// Package client is the API of an appliance for programs in Go, and the one that the
// muster command uses: what is sent, what is answered, and a client for both ways in.
//
//	c, err := client.Remote("https://muster.example.org:8067", token, ca)
//	var waiting []client.HostView
//	err = client.ReadAll(ctx, c, "/api/v1/hosts?q=state:pending", &waiting)
//
// It owns the shapes of the API: field names are stable. Records of the roll are the
// types of package boot, which has nothing but types and rules in it. It must not import
// anything that serves.
package client
