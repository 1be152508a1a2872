//go:build !failpoints

package bootstrap

import "github.com/achilles-blog/achilles/services/article/internal/article"

func withFaults(store article.Store) article.Store { return store }
