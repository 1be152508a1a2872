// Package client tests the Go client, and a client that is generated for TypeScript,
// against running services.
package client
