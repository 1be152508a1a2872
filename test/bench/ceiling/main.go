// Command ceiling serves what the benchmark compares the article service with. It prints its
// address and that of its metrics.
//
//	ceiling nethttp FILE   net/http that answers every request with the content of FILE
//	ceiling gin FILE       gin that does the same
//	ceiling select DSN     gin with a prepared select of one row
//	ceiling scaffold DSN   gin and gorm as tutorials write a blog; see scaffold.go
package main

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/gin-gonic/gin"
	_ "github.com/go-sql-driver/mysql" // the driver
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ceiling:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: ceiling nethttp|gin|select|scaffold FILE|DSN")
	}
	gin.SetMode(gin.ReleaseMode)
	handler, err := newHandler(ctx, args[0], args[1])
	if err != nil {
		return err
	}
	ended := make(chan error)
	for _, each := range []http.Handler{handler, promhttp.Handler()} {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		fmt.Println(listener.Addr())
		server := &http.Server{Handler: each, ReadHeaderTimeout: time.Minute}
		go func() { ended <- server.Serve(listener) }()
	}
	return <-ended
}

func newHandler(ctx context.Context, kind, source string) (http.Handler, error) {
	switch kind {
	case "nethttp", "gin":
		body, err := os.ReadFile(source)
		if err != nil {
			return nil, err
		}
		if kind == "gin" {
			return ginHandler(body), nil
		}
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			_, _ = w.Write(body)
		}), nil
	case "select":
		return selectHandler(ctx, source)
	case "scaffold":
		return scaffoldHandler(source)
	}
	return nil, fmt.Errorf("%q is not nethttp, gin, select or scaffold", kind)
}

const contentType = "application/json; charset=utf-8"

func ginHandler(body []byte) http.Handler {
	engine := gin.New()
	engine.GET("/api/v1/articles/:id", func(c *gin.Context) { c.Data(http.StatusOK, contentType, body) })
	return engine
}

// row is an article without tags.
type row struct {
	ID            uint64    `json:"id"`
	Title         string    `json:"title"`
	Desc          string    `json:"desc"`
	CoverImageURL string    `json:"cover_image_url"`
	Content       string    `json:"content"`
	State         int       `json:"state"`
	CreatedAt     time.Time `json:"created_at"`
	CreatedBy     string    `json:"created_by"`
	UpdatedAt     time.Time `json:"updated_at"`
	UpdatedBy     string    `json:"updated_by"`
}

func selectHandler(ctx context.Context, dsn string) (http.Handler, error) {
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxIdleConns(maxConns)
	db.SetMaxOpenConns(maxConns)
	statement, err := db.PrepareContext(ctx, "SELECT id, title, `desc`, cover_image_url, content, state, created_at, created_by, updated_at, updated_by "+
		"FROM blog_article WHERE id = ? AND is_deleted = 0")
	if err != nil {
		return nil, err
	}
	engine := gin.New()
	engine.GET("/api/v1/articles/:id", func(c *gin.Context) {
		var r row
		err := statement.QueryRowContext(c.Request.Context(), c.Param("id")).Scan(
			&r.ID, &r.Title, &r.Desc, &r.CoverImageURL, &r.Content, &r.State, &r.CreatedAt, &r.CreatedBy, &r.UpdatedAt, &r.UpdatedBy)
		if err != nil {
			c.Status(http.StatusInternalServerError)
			return
		}
		c.JSON(http.StatusOK, gin.H{"code": 0, "msg": "ok", "data": r})
	})
	return engine, nil
}
