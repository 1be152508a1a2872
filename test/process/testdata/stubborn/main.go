// Command stubborn is a service whose only route hangs.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/lifecycle"
	"github.com/achilles-blog/achilles/pkg/logging"
	"github.com/achilles-blog/achilles/pkg/server"
)

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve() error {
	signals, stop := lifecycle.Notify()
	defer stop()
	log, err := logging.New(logging.Default(), true, os.Stdout)
	if err != nil {
		return err
	}
	defer func() { _ = log.Sync() }()
	cfg := server.Default()
	cfg.Host, cfg.HTTPPort = "127.0.0.1", 0
	listener, err := server.Listen(context.Background(), cfg)
	if err != nil {
		return err
	}
	// Validation would reject such a short ShutdownTimeout.
	process := lifecycle.New(lifecycle.Config{DrainDelay: 100 * time.Millisecond, ShutdownTimeout: time.Second}, signals, log.Logger)
	mux := http.NewServeMux()
	mux.HandleFunc("/hang", func(http.ResponseWriter, *http.Request) {
		log.Info("hanging")
		time.Sleep(time.Hour)
	})
	process.Serve("http", server.NewHTTPServer(cfg, mux, log.Logger), listener)
	log.Info("up", zap.String("address", listener.Addr().String()))
	return process.Run()
}
