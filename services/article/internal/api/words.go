package api

import (
	"fmt"
	"strconv"

	"github.com/achilles-blog/achilles/pkg/cursor"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/article/internal/search"
)

// parseWords returns the words of a search. An empty text has none.
func parseWords(name string, text *string, reject func(string, errcode.Detail)) []string {
	if text == nil || *text == "" {
		return nil
	}
	words := search.QueryWords(*text)
	switch {
	case len(words) == 0:
		reject(name, errcode.Invalid(name, errcode.Malformed, errcode.Text{
			ZH:       name + "必须包含文字或数字",
			EN:       name + " must have a letter or a digit",
			ZHHantTW: name + "必須包含文字或數字",
		}))
		return nil
	case len(words) > search.MaxQueryWords:
		reject(name, errcode.Invalid(name, errcode.TooLong, errcode.Text{
			ZH:       fmt.Sprintf("%s最多只能包含%d个不同的词", name, search.MaxQueryWords),
			EN:       fmt.Sprintf("%s must have at most %d different words", name, search.MaxQueryWords),
			ZHHantTW: fmt.Sprintf("%s最多只能包含%d個不同的詞", name, search.MaxQueryWords),
		}))
		return nil
	}
	return words
}

// parseRank returns the rank in a cursor.
func parseRank(key string) (int, error) {
	rank, err := strconv.Atoi(key)
	if err != nil || rank < 0 {
		return 0, cursor.Invalid()
	}
	return rank, nil
}
