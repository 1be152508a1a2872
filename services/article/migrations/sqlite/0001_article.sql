-- +goose Up
-- The same table as in mysql/0001_article.sql.
CREATE TABLE blog_article (
    id              integer      NOT NULL PRIMARY KEY AUTOINCREMENT,
    created_at      datetime     NOT NULL,
    created_by      varchar(64)  NOT NULL DEFAULT '',
    updated_at      datetime     NOT NULL,
    updated_by      varchar(64)  NOT NULL DEFAULT '',
    is_deleted      tinyint      NOT NULL DEFAULT 0,
    title           varchar(100) NOT NULL,
    "desc"          varchar(255) NOT NULL DEFAULT '',
    cover_image_url varchar(255) NOT NULL DEFAULT '',
    content         longtext     NOT NULL,
    state           tinyint      NOT NULL DEFAULT 1,
    revision        bigint       NOT NULL DEFAULT 1,
    CONSTRAINT blog_article_state CHECK (state IN (0, 1)),
    CONSTRAINT blog_article_flag CHECK (is_deleted IN (0, 1))
);
CREATE INDEX blog_article_is_deleted_state ON blog_article (is_deleted, state);
CREATE INDEX blog_article_is_deleted ON blog_article (is_deleted);
CREATE INDEX blog_article_title ON blog_article (is_deleted, state, title);

-- +goose Down
DROP TABLE blog_article;
