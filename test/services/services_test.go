package services

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/scaffold/fields"
)

func TestRead(t *testing.T) {
	all, err := Read(writeList(t, `
- {name: tag, port: 1, adminPort: 2, paths: [/tags], resources: [{name: tag, path: /tags, fields: ['name:string(100)!', 'state:state']}]}
- {name: post, port: 3, adminPort: 4, paths: [/posts, /auth], issuer: true, follows: [tag], resources: [{name: post, path: /posts}]}
`))
	require.NoError(t, err)
	require.Equal(t, []Service{
		{Name: "tag", Port: 1, AdminPort: 2, Paths: []string{"/tags"}, Resources: []Resource{{Name: "tag", Path: "/tags", Fields: []fields.Field{
			{Name: "name", Type: fields.String, Size: 100, Unique: true}, {Name: "state", Type: fields.State},
		}}}},
		{Name: "post", Port: 3, AdminPort: 4, Paths: []string{"/posts", "/auth"}, Issuer: true, Follows: []string{"tag"}, Resources: []Resource{{Name: "post", Path: "/posts"}}},
	}, all)
	require.Equal(t, []string{"tag", "post"}, Names(all))
	require.Empty(t, all[0].Feed())
	require.Equal(t, "tag", all[1].Feed())
	require.Equal(t, "post", Issuer(all).Name)
}

func TestReadRejects(t *testing.T) {
	for list, want := range map[string]string{
		`- {name: tag, port: 1, adminPort: 2}`:                                                                                  "paths are required",
		`- {name: tag, port: 1, paths: [/tags], resources: [{name: tag, path: /tags}]}`:                                         "are required",
		`- {name: tag, port: 1, adminPort: 2, paths: [/tags], path: x}`:                                                         "field path not found",
		`- {name: post, port: 1, adminPort: 2, paths: [/a], resources: [{name: a, path: /a}], follows: [tag]}`:                  "follows tag, which must be listed before it",
		`- {name: post, port: 1, adminPort: 2, paths: [/a], resources: [{name: a, path: /a}], follows: [post]}`:                 "must be listed before it",
		`- {name: post, port: 1, adminPort: 2, paths: [/a], resources: [{name: a, path: /a}], follows: [b, c]}`:                 "Feed.URL names one service",
		"- &tag {name: tag, port: 1, adminPort: 2, paths: [/tags], resources: [{name: tag, path: /tags}]}\n- *tag":              "listed twice",
		`- {name: tag, port: 1, adminPort: 2, paths: [/tags]}`:                                                                  "resources are required",
		`- {name: tag, port: 1, adminPort: 2, paths: [/tags], resources: [{name: tag, path: /tag}]}`:                            "one of [/tags]",
		`- {name: tag, port: 1, adminPort: 2, paths: [/tags], resources: [{name: tag, path: /tags, fields: ['name:string']}]}`:  "a string has a size",
		`- {name: tag, port: 1, adminPort: 2, paths: [/tags], resources: [{name: tag, path: /tags}, {name: tag, path: /tags}]}`: "listed twice",
		`- {name: tag, port: 1, adminPort: 2, paths: [/tags], resources: [{name: tag, path: /tags}]}`:                           "one service issues the tokens of all services and has issuer: true, but 0 have it: []",
		`- {name: tag, port: 1, adminPort: 2, paths: [/tags, /auth], resources: [{name: tag, path: /tags}]}`:                    "tag: the path /auth and issuer: true belong together",
		`- {name: tag, port: 1, adminPort: 2, paths: [/tags], issuer: true, resources: [{name: tag, path: /tags}]}`:             "tag: the path /auth and issuer: true belong together",
		`
- {name: tag, port: 1, adminPort: 2, paths: [/tags, /auth], issuer: true, resources: [{name: tag, path: /tags}]}
- {name: mark, port: 3, adminPort: 4, paths: [/marks, /auth], issuer: true, resources: [{name: mark, path: /marks}]}`: "2 have it: [tag mark]",
	} {
		_, err := Read(writeList(t, list))
		require.ErrorContains(t, err, want)
	}
	_, err := Read(t.TempDir())
	require.ErrorIs(t, err, os.ErrNotExist)
}

func writeList(t *testing.T, text string) (root string) {
	t.Helper()
	root = t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(root, "services"), 0o750))
	require.NoError(t, os.WriteFile(filepath.Join(root, File), []byte(text), 0o600))
	return root
}
