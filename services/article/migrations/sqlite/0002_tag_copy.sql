-- +goose Up
-- The same tables as in mysql/0002_tag_copy.sql.
CREATE TABLE blog_tag_projection (
    id    integer      NOT NULL PRIMARY KEY,
    name  varchar(100) NOT NULL,
    state tinyint      NOT NULL
);

CREATE TABLE blog_tag_offset (
    id       tinyint     NOT NULL PRIMARY KEY,
    epoch    varchar(36) NOT NULL,
    sequence bigint      NOT NULL
);
INSERT INTO blog_tag_offset (id, epoch, sequence) VALUES (1, '', 0);

CREATE TABLE blog_article_tag (
    id         integer     NOT NULL PRIMARY KEY AUTOINCREMENT,
    created_at datetime    NOT NULL,
    created_by varchar(64) NOT NULL DEFAULT '',
    updated_at datetime    NOT NULL,
    updated_by varchar(64) NOT NULL DEFAULT '',
    is_deleted tinyint     NOT NULL DEFAULT 0,
    article_id bigint      NOT NULL,
    tag_id     bigint      NOT NULL,
    CONSTRAINT blog_article_tag_has_article FOREIGN KEY (article_id) REFERENCES blog_article (id) ON DELETE CASCADE,
    CONSTRAINT blog_article_tag_has_tag FOREIGN KEY (tag_id) REFERENCES blog_tag_projection (id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX blog_article_tag_pair ON blog_article_tag (article_id, tag_id);
CREATE INDEX blog_article_tag_tag ON blog_article_tag (tag_id, article_id);

-- +goose Down
DROP TABLE blog_article_tag;
DROP TABLE blog_tag_offset;
DROP TABLE blog_tag_projection;
