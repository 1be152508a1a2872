-- +goose Up
-- The same tables as in mysql/0001_tag.sql, which explains them.
CREATE TABLE blog_tag (
    id          integer      NOT NULL PRIMARY KEY AUTOINCREMENT,
    created_at  datetime     NOT NULL,
    created_by  varchar(64)  NOT NULL DEFAULT '',
    updated_at  datetime     NOT NULL,
    updated_by  varchar(64)  NOT NULL DEFAULT '',
    is_deleted  tinyint      NOT NULL DEFAULT 0,
    name        varchar(100) NOT NULL,
    state       tinyint      NOT NULL DEFAULT 1,
    revision    bigint       NOT NULL DEFAULT 1,
    active_name varchar(100) GENERATED ALWAYS AS (CASE WHEN is_deleted = 0 THEN name END) STORED,
    CONSTRAINT blog_tag_state CHECK (state IN (0, 1)),
    CONSTRAINT blog_tag_flag CHECK (is_deleted IN (0, 1))
);
CREATE UNIQUE INDEX blog_tag_active_name ON blog_tag (active_name);
CREATE INDEX blog_tag_is_deleted_state ON blog_tag (is_deleted, state);
CREATE INDEX blog_tag_is_deleted ON blog_tag (is_deleted);
CREATE INDEX blog_tag_state_active_name ON blog_tag (state, active_name);
CREATE INDEX blog_tag_is_deleted_created_at ON blog_tag (is_deleted, created_at);
CREATE INDEX blog_tag_is_deleted_state_created_at ON blog_tag (is_deleted, state, created_at);

CREATE TABLE blog_tag_sequence (
    id            tinyint     NOT NULL PRIMARY KEY,
    value         bigint      NOT NULL,
    epoch         varchar(36) NOT NULL,
    enabled_tags  bigint      NOT NULL DEFAULT 0,
    disabled_tags bigint      NOT NULL DEFAULT 0
);
INSERT INTO blog_tag_sequence (id, value, epoch) VALUES (1, 0, lower(hex(randomblob(16))));

CREATE TABLE blog_tag_change (
    sequence   integer      NOT NULL PRIMARY KEY,
    created_at datetime     NOT NULL,
    tag_id     bigint       NOT NULL,
    kind       varchar(8)   NOT NULL,
    name       varchar(100) NOT NULL,
    state      tinyint      NOT NULL,
    CONSTRAINT blog_tag_change_kind CHECK (kind IN ('put', 'delete'))
);
CREATE INDEX blog_tag_change_created_at ON blog_tag_change (created_at);
