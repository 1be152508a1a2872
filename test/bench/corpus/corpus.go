// Package corpus computes the articles of the benchmark from their ids: what is loaded
// into the database, and what every response is compared with.
package corpus

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// The tags have the ids 1 to Tags. TopTag is that of every second article, RareTag that of
// every rareEach-th.
const (
	Tags     = 1000
	TopTag   = 1
	RareTag  = 2
	rareEach = 29
)

// The parts of titles that searches look for: Canary is in every canaryEach-th article,
// Guide in every second one, NoTitle in none.
const (
	Canary     = "金丝雀发布"
	Guide      = "Guide"
	NoTitle    = "无人问津"
	canaryEach = 997
)

// The words that searches look for, beside those of titles: each of FrequentWords is in half
// of all articles or more, and both are in many. Each of ApartWords is in every eighth article,
// and both are in none.
const (
	FrequentWords = "timeouts guide"
	ApartWords    = "rolling readiness"
	timeouts      = 2 // the paragraph
)

// Article is an article with the given id.
type Article struct {
	ID         uint64
	Title      string
	Desc       string
	CoverImage string
	Content    string
	TagIDs     []uint64
}

var (
	subjects = []string{"Rolling restarts", "连接池", "Optimistic locking", "优雅停机", "Change feeds", "限流", "Readiness", "数据库迁移"}
	reasons  = []string{"in production", "的代价", "explained", "实践", "without tears", "与一致性", "by example", "排错"}
	// Encoders differ in how they escape <, > and &, so none of them occurs.
	paragraphs = []string{
		"A pod that is deleted keeps its endpoint for a while.\nUntil every proxy knows, requests arrive, and each of them must be answered: \"not my connection\" is no excuse.\n\n",
		"优雅停机分为两步：先让就绪检查失败，再等待正在处理的请求结束。\n\n“等待”不是睡眠，而是有上限的排空。\n\n",
		"## Timeouts\n\nEvery wait has an end: the client's, the proxy's, the server's, the database's. The inner one is the shorter one.\n\n",
		"计数器与写入在同一个事务里更新，因此列表的总数从不需要重新统计；代价是一次行锁。\n\n",
		"```go\nfunc (s *Store) Get(ctx context.Context, id uint64) (Article, error)\n```\n\nReturns \"not found\" as an error code, not as a null.\n\n",
		"大表上的 OFFSET 会读取并丢弃前面的每一行，所以翻页有尽头，游标没有。\n\n",
		"The log is written in batches, because a system call for each line costs more than the line itself does.\n\n",
		"- measure\n- change one thing\n- measure again\n\n",
	}
	encodedParagraphs = encoded(paragraphs)
)

const paragraphsEach = 12

func encoded(texts []string) [][]byte {
	all := make([][]byte, len(texts))
	for i, text := range texts {
		all[i] = []byte(quoted(text))
		all[i] = all[i][1 : len(all[i])-1]
	}
	return all
}

// quoted returns text as a JSON string.
func quoted(text string) string {
	encoded, _ := json.Marshal(text) // never fails
	return string(encoded)
}

// mix returns well-distributed bits of id (splitmix64).
func mix(id uint64) uint64 {
	id += 0x9e3779b97f4a7c15
	id = (id ^ id>>30) * 0xbf58476d1ce4e5b9
	id = (id ^ id>>27) * 0x94d049bb133111eb
	return id ^ id>>31
}

// New returns the article with this id.
func New(id uint64) Article {
	var content strings.Builder
	content.WriteString(opening(id))
	for n := range paragraphsEach {
		content.WriteString(paragraphs[paragraph(id, n)])
	}
	return Article{
		ID: id, Title: title(id), Desc: desc(id), CoverImage: "https://images.example.com/" + strconv.FormatUint(id, 10) + ".jpg",
		Content: content.String(), TagIDs: tagIDs(id),
	}
}

func paragraph(id uint64, n int) uint64 { return mix(id) >> (n * 5) % uint64(len(paragraphs)) }

func hasParagraph(id, wanted uint64) bool {
	for n := range paragraphsEach {
		if paragraph(id, n) == wanted {
			return true
		}
	}
	return false
}

func opening(id uint64) string { return "# 文章 " + strconv.FormatUint(id, 10) + " " }

func desc(id uint64) string { return "文章 " + strconv.FormatUint(id, 10) + " in short" }

func title(id uint64) string {
	bits := mix(id)
	text := subjects[bits%8] + " " + reasons[bits>>3%8]
	if id%canaryEach == 0 {
		text += " " + Canary
	}
	if id%2 == 0 {
		text += " " + Guide
	}
	return text + " " + strconv.FormatUint(id, 10)
}

// tagIDs returns three different tags in ascending order.
func tagIDs(id uint64) []uint64 {
	bits := mix(id)
	ids := []uint64{3 + bits>>10%198, 201 + bits>>20%400, 601 + bits>>30%400}
	if id%rareEach == 0 {
		ids[1], ids[0] = ids[0], RareTag
	}
	if id%2 == 0 {
		ids = []uint64{TopTag, ids[0], ids[1]}
	}
	return ids
}

// TagName returns the name of a tag.
func TagName(id uint64) string { return "tag " + strconv.FormatUint(id, 10) }

// Filter selects articles of a list.
type Filter struct {
	TagID uint64
	Title string
	Words string
}

func (f Filter) matches(id uint64) bool {
	switch {
	case f.TagID == TopTag:
		return id%2 == 0
	case f.TagID == RareTag:
		return id%rareEach == 0
	case f.Title == Canary, f.Words == Canary:
		return id%canaryEach == 0
	case f.Title == Guide, f.Words == Guide:
		return id%2 == 0
	case f.Words == FrequentWords:
		return id%2 == 0 && hasParagraph(id, timeouts)
	}
	return f == Filter{}
}

// CheckArticle returns an error unless body is the response with the article id.
func CheckArticle(body []byte, id uint64) error {
	rest, ok := after(body, appendHead(nil, id))
	if ok {
		rest, ok = checkContent(rest, id)
	}
	if ok {
		_, ok = after(rest, appendTags(nil, id))
	}
	if !ok {
		return wrong(body, "article %d", id)
	}
	return nil
}

// AppendRequest appends the JSON of a request that creates the article id, which gets
// another id.
func AppendRequest(to []byte, id uint64) []byte {
	to = append(to, `{"title":"`...)
	to = append(to, title(id)...)
	to = append(to, `","desc":"`...)
	to = append(to, desc(id)...)
	to = append(to, `","content":"`+opening(id)...)
	for n := range paragraphsEach {
		to = append(to, encodedParagraphs[paragraph(id, n)]...)
	}
	to = append(to, `","tag_ids":[`...)
	for n, tag := range tagIDs(id) {
		if n > 0 {
			to = append(to, ',')
		}
		to = strconv.AppendUint(to, tag, 10)
	}
	return append(to, `]}`...)
}

// CheckCreated returns an error unless body is the response to AppendRequest.
func CheckCreated(body []byte, id uint64) error {
	rest, ok := after(body, []byte(`,"title":"`+title(id)+`","desc":"`+desc(id)+`",`))
	if ok {
		rest, ok = checkContent(rest, id)
	}
	if ok {
		_, ok = after(rest, appendTags(nil, id))
	}
	if !ok {
		return wrong(body, "an article that was created like %d", id)
	}
	return nil
}

// CheckContent is like CheckArticle for responses without tags.
func CheckContent(body []byte, id uint64) error {
	if rest, ok := after(body, appendHead(nil, id)); ok {
		if _, ok = checkContent(rest, id); ok {
			return nil
		}
	}
	return wrong(body, "article %d", id)
}

func checkContent(body []byte, id uint64) (rest []byte, ok bool) {
	rest, ok = after(body, []byte(`"content":"`+opening(id)))
	for n := 0; ok && n < paragraphsEach; n++ {
		rest, ok = bytes.CutPrefix(rest, encodedParagraphs[paragraph(id, n)])
	}
	return rest, ok && bytes.HasPrefix(rest, []byte(`"`))
}

// after returns what follows the first occurrence of part.
func after(text, part []byte) ([]byte, bool) {
	_, rest, ok := bytes.Cut(text, part)
	return rest, ok
}

func wrong(body []byte, format string, args ...any) error {
	return fmt.Errorf("the response is not "+format+": %.300s", append(args, body)...)
}

// appendHead appends the first fields of an article in JSON.
func appendHead(to []byte, id uint64) []byte {
	to = append(to, `{"id":`...)
	to = strconv.AppendUint(to, id, 10)
	to = append(to, `,"title":"`...)
	to = append(to, title(id)...)
	to = append(to, `","desc":"`...)
	to = append(to, desc(id)...)
	return append(to, `",`...)
}

func appendTags(to []byte, id uint64) []byte {
	to = append(to, `"tags":[`...)
	for n, tag := range tagIDs(id) {
		if n > 0 {
			to = append(to, ',')
		}
		to = append(to, `{"id":`...)
		to = strconv.AppendUint(to, tag, 10)
		to = append(to, `,"name":"tag `...)
		to = strconv.AppendUint(to, tag, 10)
		to = append(to, `","state":1}`...)
	}
	return append(to, ']')
}

// List is an expected page.
type List struct {
	parts [][]byte
	total []byte
}

// Page returns the page of the articles 1 to articles that match the filter, newest
// first.
func Page(articles uint64, f Filter, page, size int) List {
	var l List
	total := 0
	for id := articles; id > 0; id-- {
		if !f.matches(id) {
			continue
		}
		if total++; total > (page-1)*size && total <= page*size {
			l.parts = append(l.parts, appendHead(nil, id), appendTags(nil, id))
		}
	}
	l.total = fmt.Appendf(nil, `"total_rows":%d`, total)
	return l
}

// Check returns an error unless body is this page. A total may be a lower bound that is
// marked as one.
func (l List) Check(body []byte) error {
	rest := body
	for _, part := range l.parts {
		var ok bool
		if rest, ok = after(rest, part); !ok {
			return wrong(body, "the expected list: there is no %s", part)
		}
	}
	if bytes.Contains(rest, []byte(`{"id":`)) {
		return wrong(body, "the expected list: there are more than %d articles", len(l.parts)/2)
	}
	if end, ok := after(rest, l.total); (!ok || end[0] >= '0' && end[0] <= '9') && !bytes.Contains(rest, []byte(`"total_relation":"gte"`)) {
		return wrong(body, "the expected list: there is no %s", l.total)
	}
	return nil
}
