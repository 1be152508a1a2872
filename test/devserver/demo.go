package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"
)

// demo fills the system behind the port with content, as the client that the
// directory keeps.
func demo(portText, dir string, stdout, stderr io.Writer) error {
	ctx, release := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer release()
	client, err := enter(ctx, portText, dir)
	if err != nil {
		return err
	}
	defer client.Close()
	filled, err := fill(ctx, client, stderr)
	if err != nil && ctx.Err() != nil {
		return errors.New("stopped; make demo continues where it was")
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, filled)
	return err
}

// filled tells what a run of the demo has added.
type filled struct {
	tags, articles int
	bytes          int64
	took           time.Duration // for the articles
}

func (f filled) String() string {
	if f.tags == 0 && f.articles == 0 {
		return fmt.Sprintf("Nothing to add: the %d tags and %d articles of the demo are there already.", demoTags, demoArticles)
	}
	text := fmt.Sprintf("Added %d tags and %d articles", f.tags, f.articles)
	if f.articles == 0 {
		return text + "; the other articles were there already."
	}
	return text + fmt.Sprintf(" (%.1f MB) in %.1f s: %.0f articles/s.",
		float64(f.bytes)/1e6, f.took.Seconds(), float64(f.articles)/f.took.Seconds())
}

// fill adds what is missing of the demo's tags and articles.
func fill(ctx context.Context, client *api, progress io.Writer) (filled, error) {
	var f filled
	there, err := client.titles(ctx)
	if err != nil {
		return f, err
	}
	var tags []uint64
	for _, name := range tagNames() {
		id, added, err := client.createTag(ctx, name)
		if err != nil {
			return f, err
		}
		if added {
			f.tags++
		}
		tags = append(tags, id)
	}
	var missing []post
	for _, p := range newWriter().posts() {
		if !there[p.Title] {
			missing = append(missing, p)
		}
	}
	started := time.Now()
	f.bytes, err = publish(ctx, client, missing, tags, progress)
	f.articles, f.took = len(missing), time.Since(started)
	return f, err
}

// publish creates the articles, several at a time, and returns the bytes of
// their content.
func publish(ctx context.Context, client *api, posts []post, tags []uint64, progress io.Writer) (int64, error) {
	if len(posts) == 0 {
		return 0, nil
	}
	bar := newBar(len(posts), progress)
	var sent atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(demoClients)
	for _, p := range posts {
		group.Go(func() error {
			// After the first failure the rest is not even tried.
			if ctx.Err() != nil {
				return ctx.Err()
			}
			ids := make([]uint64, len(p.Tags))
			for i, rank := range p.Tags {
				ids[i] = tags[rank]
			}
			if err := client.createArticle(ctx, p, ids); err != nil {
				return err
			}
			sent.Add(int64(len(p.Content)))
			return bar.Add(1)
		})
	}
	err := group.Wait()
	if err != nil {
		_ = bar.Exit() // leaves the bar as it is
	}
	return sent.Load(), err
}

func newBar(total int, out io.Writer) *progressbar.ProgressBar {
	return progressbar.NewOptions(total,
		progressbar.OptionSetWriter(out),
		progressbar.OptionSetVisibility(isTerminal(out)),
		progressbar.OptionSetDescription("articles"),
		progressbar.OptionSetWidth(30),
		progressbar.OptionShowCount(),
		progressbar.OptionShowIts(),
		progressbar.OptionSetItsString("articles"),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionOnCompletion(func() { _, _ = fmt.Fprintln(out) }),
	)
}

func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
