package process_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

// envChaos is the environment variable with the duration of the chaos test, such as 10m.
const envChaos = "ACHILLES_TEST_CHAOS"

func chaosTime(t *testing.T) time.Duration {
	text := os.Getenv(envChaos)
	if text == "" {
		return 20 * time.Second
	}
	length, err := time.ParseDuration(text)
	require.NoError(t, err, envChaos)
	return length
}

// Replicas are killed at random times. No acknowledged write is lost, the feed has no
// gap, and the read model always has the state of the feed at its offset.
func TestFeedChaos(t *testing.T) {
	t.Parallel()
	c := newChaos(t)
	over := time.Now().Add(chaosTime(t))
	for n := range 4 {
		c.begin(func() { c.writeTags(fmt.Sprintf("writer %d", n)) })
		c.begin(func() { c.writeArticles(fmt.Sprintf("writer %d", n)) })
	}
	c.begin(func() { c.observeReadModel(t.Context()) })
	kills := 0
	for time.Now().Before(over) {
		kills += c.killSome(t)
		time.Sleep(rand.N(500 * time.Millisecond))
	}
	close(c.over)
	c.running.Wait()
	require.Empty(t, c.findings)
	t.Logf("%d kills; %d tags, %d articles, %d changes acknowledged; answers %v; %d observations of the read model",
		kills, len(c.tags), len(c.articles), c.acknowledged, c.answers, len(c.observations))

	requireConsistent(t, c.tagDatabase, c.articleDatabase)
	c.requireNothingLost(t)
	c.requireAlwaysConsistent(t)
	last := rows[feedRow](t, c.tagDatabase, querySequence)[0].Value
	for _, replica := range c.articleFleet.replicas {
		process.Await(t, "the metrics to show a complete read model", func() bool { return followed(t, replica, float64(last)) })
	}
}

// fleet is the replicas of a service behind a gateway.
type fleet struct {
	*gateway
	program  string
	settings process.Settings
	replicas []*process.Process
}

func newFleet(t *testing.T, name string, settings process.Settings, replicas int) *fleet {
	f := &fleet{gateway: newGateway(t), program: process.Service(t, name), settings: settings, replicas: make([]*process.Process, replicas)}
	process.Migrate(t, f.program, settings)
	for i := range f.replicas {
		f.start(t, i)
	}
	for i := range f.replicas {
		f.await(t, i)
	}
	return f
}

func (f *fleet) start(t *testing.T, i int) { f.replicas[i] = process.Serve(t, f.program, f.settings) }

// kill removes a replica from the gateway, because its port may be reused, and kills it.
func (f *fleet) kill(t *testing.T, i int) {
	f.remove(f.replicas[i].Addr(t))
	f.replicas[i].Kill()
}

func (f *fleet) await(t *testing.T, i int) {
	f.replicas[i].AwaitReady(t)
	f.add(f.replicas[i].Addr(t))
}

func (f *fleet) url(path string) string { return "http://" + f.addr() + path }

// state is the state of a tag. The other fields of a deleted tag are ignored.
type state struct {
	Name    string
	State   uint8
	Deleted bool
}

// history is the last acknowledged state of a tag, and the states requested since then
// without a response.
type history struct {
	acknowledged state
	possible     []state
}

// observation is the read model at a point in time.
type observation struct {
	offset feedRow
	tags   []tagRow
}

type chaos struct {
	tagFleet, articleFleet       *fleet
	tagDatabase, articleDatabase database.Config
	readModel                    *database.DB

	running sync.WaitGroup
	over    chan struct{}

	mu           sync.Mutex
	findings     []string
	answers      map[string]int
	acknowledged int
	names        map[string]bool // all sent names
	tags         map[uint64]*history
	recent       []uint64 // tags that exist or existed recently
	articles     map[uint64]string
	observations []observation
}

func newChaos(t *testing.T) *chaos {
	c := &chaos{
		tagDatabase: dbtest.MySQL(t), articleDatabase: dbtest.MySQL(t), over: make(chan struct{}),
		answers: map[string]int{}, names: map[string]bool{}, tags: map[uint64]*history{}, articles: map[uint64]string{},
	}
	c.readModel = dbtest.Open(t, c.articleDatabase)
	c.tagFleet = newFleet(t, "tag", process.On(c.tagDatabase), 2)
	c.articleFleet = newFleet(t, "article", process.Follow(c.articleDatabase, c.tagFleet.addr()).With(process.Settings{"Feed.Wait": "2s"}), 3)
	return c
}

// begin repeats work with short pauses.
func (c *chaos) begin(work func()) {
	c.running.Go(func() {
		for {
			work()
			select {
			case <-c.over:
				return
			case <-time.After(rand.N(20 * time.Millisecond)):
			}
		}
	})
}

// killSome kills and restarts one or more replicas.
func (c *chaos) killSome(t *testing.T) (kills int) {
	type victim struct {
		*fleet
		i int
	}
	victims := []victim{{c.tagFleet, 0}, {c.tagFleet, 1}, {c.articleFleet, 0}, {c.articleFleet, 1}, {c.articleFleet, 2}}
	rand.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	victims = victims[:1+rand.N(len(victims))]
	for _, v := range victims {
		v.kill(t, v.i)
	}
	for _, v := range victims {
		v.start(t, v.i)
	}
	for _, v := range victims {
		v.await(t, v.i)
	}
	return len(victims)
}

// ask sends a request through a gateway and counts the response. ok is false unless the
// request succeeded.
func (c *chaos) ask(f *fleet, method, path string, body any, allowed ...int) (answer process.Answer, ok bool) {
	answer, err := process.Ask(method, f.url(path), body)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.answers["none"]++
		return answer, false
	}
	c.answers[fmt.Sprint(answer.Status)]++
	if answer.Status == 503 {
		return answer, false
	}
	if !slices.Contains(allowed, answer.Status) {
		c.findings = append(c.findings, fmt.Sprintf("%s %s: status %d: %s", method, path, answer.Status, answer.Body))
	}
	return answer, answer.Status < 300
}

// name returns a unique name.
func (c *chaos) name(of string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := fmt.Sprintf("%s %d", of, len(c.names))
	c.names[name] = true
	return name
}

func (c *chaos) createTag(writer string) (tagID uint64, ok bool) {
	name := c.name(writer)
	answer, ok := c.ask(c.tagFleet, "POST", "/api/v1/tags", newTag(name), 201)
	if !ok {
		return 0, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acknowledged++
	c.tags[answer.ID()] = &history{acknowledged: state{Name: name, State: 1}}
	c.recent = append(c.recent, answer.ID())
	return answer.ID(), true
}

// writeTags creates a tag, changes it some times, and usually deletes it.
func (c *chaos) writeTags(writer string) {
	tagID, ok := c.createTag(writer)
	if !ok {
		return
	}
	path := "/api/v1/tags/" + id(tagID)
	for range rand.N(4) {
		next := state{Name: c.name(writer), State: uint8(rand.N(2))}
		c.changeTag(tagID, next, "PUT", path, map[string]any{"name": next.Name, "state": next.State})
	}
	if rand.N(4) > 0 {
		c.changeTag(tagID, state{Deleted: true}, "DELETE", path, nil)
	}
}

// changeTag changes a tag. There is no concurrent change of the same tag.
func (c *chaos) changeTag(tagID uint64, next state, method, path string, body any) {
	_, ok := c.ask(c.tagFleet, method, path, body, 200)
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.tags[tagID]
	if ok {
		c.acknowledged++
		known.acknowledged, known.possible = next, nil
		return
	}
	known.possible = append(known.possible, next)
}

// writeArticles writes articles with tags that exist or existed recently, and sometimes
// with a new tag, which must not be unknown.
func (c *chaos) writeArticles(writer string) {
	if rand.N(4) == 0 {
		if tagID, ok := c.createTag(writer); ok {
			c.putArticle("POST", "/api/v1/articles", c.name(writer), []uint64{tagID}, 201)
		}
		return
	}
	articleID, ok := c.putArticle("POST", "/api/v1/articles", c.name(writer), c.someTags(), 201, 400)
	if ok && rand.N(2) == 0 {
		c.putArticle("PUT", "/api/v1/articles/"+id(articleID), c.titleOf(articleID), c.someTags(), 200, 400)
	}
}

func (c *chaos) titleOf(articleID uint64) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.articles[articleID]
}

func (c *chaos) putArticle(method, path, title string, tagIDs []uint64, allowed ...int) (articleID uint64, ok bool) {
	answer, ok := c.ask(c.articleFleet, method, path, newArticle(title, tagIDs...), allowed...)
	if !ok {
		return 0, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.articles[answer.ID()] = title
	return answer.ID(), true
}

func (c *chaos) someTags() []uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recent = c.recent[max(0, len(c.recent)-20):]
	picked := map[uint64]bool{}
	var tagIDs []uint64
	for range min(rand.N(4), len(c.recent)) {
		if tagID := c.recent[rand.N(len(c.recent))]; !picked[tagID] {
			picked[tagID] = true
			tagIDs = append(tagIDs, tagID)
		}
	}
	return tagIDs
}

// observeReadModel records the current read model.
func (c *chaos) observeReadModel(ctx context.Context) {
	var seen observation
	err := c.readModel.Snapshot(ctx, func(tx *gorm.DB) error {
		if err := tx.Raw(queryOffset).Scan(&seen.offset).Error; err != nil {
			return err
		}
		return tx.Raw(queryReadModel).Scan(&seen.tags).Error
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.findings = append(c.findings, "reading the read model: "+err.Error())
		return
	}
	c.observations = append(c.observations, seen)
}

// requireNothingLost compares the databases with the acknowledged writes.
func (c *chaos) requireNothingLost(t *testing.T) {
	t.Helper()
	stored := map[uint64]state{}
	for _, row := range rows[struct {
		ID        uint64
		Name      string
		State     uint8
		IsDeleted bool
	}](t, c.tagDatabase, "SELECT id, name, state, is_deleted FROM blog_tag") {
		require.True(t, c.names[row.Name], "%q was never sent", row.Name)
		stored[row.ID] = state{Name: row.Name, State: row.State}
		if row.IsDeleted {
			stored[row.ID] = state{Deleted: true}
		}
	}
	for tagID, known := range c.tags {
		require.Contains(t, append(known.possible, known.acknowledged), stored[tagID], "tag %d", tagID)
	}
	titles := map[uint64]string{}
	for _, row := range rows[struct {
		ID    uint64
		Title string
	}](t, c.articleDatabase, "SELECT id, title FROM blog_article WHERE is_deleted = 0") {
		titles[row.ID] = row.Title
	}
	for articleID, title := range c.articles {
		require.Equal(t, title, titles[articleID], "article %d", articleID)
	}
}

// requireAlwaysConsistent requires that the feed has no gap and leads to the current
// tags, and that the read model followed it and never went back.
func (c *chaos) requireAlwaysConsistent(t *testing.T) {
	t.Helper()
	changes := rows[changeRow](t, c.tagDatabase, "SELECT sequence, tag_id, kind, name, state FROM blog_tag_change ORDER BY sequence")
	last := rows[feedRow](t, c.tagDatabase, querySequence)[0]
	require.Len(t, changes, int(last.Value))
	require.GreaterOrEqual(t, len(changes), c.acknowledged)
	for i, change := range changes {
		require.EqualValues(t, i+1, change.Sequence, "the sequence has a gap")
	}
	at := replay(changes)
	require.Equal(t, rows[tagRow](t, c.tagDatabase, querySource), at(last.Value))
	before := uint64(0)
	for _, seen := range c.observations {
		require.Equal(t, last.Epoch, seen.offset.Epoch)
		require.GreaterOrEqual(t, seen.offset.Value, before, "the read model went back")
		before = seen.offset.Value
		require.ElementsMatch(t, at(before), seen.tags, "the read model at offset %d", before)
	}
}
