-- +goose Up
-- The same tables as in mysql/0001_tag.sql, where the reasons stand.
CREATE TABLE blog_tag (
    id          integer      NOT NULL PRIMARY KEY AUTOINCREMENT,
    created_at  datetime     NOT NULL,
    created_by  varchar(64)  NOT NULL DEFAULT '',
    updated_at  datetime     NOT NULL,
    updated_by  varchar(64)  NOT NULL DEFAULT '',
    is_deleted  tinyint      NOT NULL DEFAULT 0,
    name        varchar(100) NOT NULL,
    state       tinyint      NOT NULL DEFAULT 1,
    active_name varchar(100) GENERATED ALWAYS AS (CASE WHEN is_deleted = 0 THEN name END) STORED,
    CONSTRAINT blog_tag_state CHECK (state IN (0, 1)),
    CONSTRAINT blog_tag_flag CHECK (is_deleted IN (0, 1))
);
CREATE UNIQUE INDEX blog_tag_active_name ON blog_tag (active_name);
CREATE INDEX blog_tag_is_deleted_state ON blog_tag (is_deleted, state);
CREATE INDEX blog_tag_is_deleted ON blog_tag (is_deleted);

-- +goose Down
DROP TABLE blog_tag;
