-- +goose Up
-- The same tables as in mysql/0001_article.sql, which explains them.
CREATE TABLE blog_blob (
    sha256       binary(32) NOT NULL,
    size         bigint     NOT NULL,
    unused_since datetime   NULL,
    PRIMARY KEY (sha256)
) WITHOUT ROWID;
CREATE INDEX blog_blob_unused ON blog_blob (unused_since);

CREATE TABLE blog_file (
    id         integer      NOT NULL PRIMARY KEY AUTOINCREMENT,
    created_at datetime     NOT NULL,
    created_by varchar(64)  NOT NULL DEFAULT '',
    name       varchar(255) NOT NULL,
    size       bigint       NOT NULL,
    type       varchar(100) NOT NULL,
    sha256     binary(32)   NOT NULL,
    width      int          NOT NULL DEFAULT 0,
    height     int          NOT NULL DEFAULT 0,
    CONSTRAINT blog_file_has_blob FOREIGN KEY (sha256) REFERENCES blog_blob (sha256) ON DELETE RESTRICT
);
CREATE INDEX blog_file_sha256 ON blog_file (sha256);
CREATE INDEX blog_file_created_by ON blog_file (created_by, id DESC);

CREATE TABLE blog_file_usage (
    client varchar(64) NOT NULL,
    files  bigint      NOT NULL,
    bytes  bigint      NOT NULL,
    PRIMARY KEY (client)
) WITHOUT ROWID;

CREATE TABLE blog_article (
    id              integer      NOT NULL PRIMARY KEY AUTOINCREMENT,
    created_at      datetime     NOT NULL,
    created_by      varchar(64)  NOT NULL DEFAULT '',
    updated_at      datetime     NOT NULL,
    updated_by      varchar(64)  NOT NULL DEFAULT '',
    published_at    datetime     NOT NULL,
    is_deleted      tinyint      NOT NULL DEFAULT 0,
    title           varchar(100) NOT NULL,
    slug            varchar(100) NOT NULL DEFAULT '',
    "desc"          varchar(255) NOT NULL DEFAULT '',
    cover_image_url varchar(2000) NOT NULL DEFAULT '',
    cover_file_id   bigint       NULL,
    content         longtext     NOT NULL,
    state           tinyint      NOT NULL DEFAULT 1,
    revision        bigint       NOT NULL DEFAULT 1,
    CONSTRAINT blog_article_has_cover FOREIGN KEY (cover_file_id) REFERENCES blog_file (id) ON DELETE SET NULL,
    CONSTRAINT blog_article_state CHECK (state IN (0, 1, 2)),
    CONSTRAINT blog_article_flag CHECK (is_deleted IN (0, 1))
);
CREATE INDEX blog_article_is_deleted_state ON blog_article (is_deleted, state, id DESC);
CREATE INDEX blog_article_is_deleted ON blog_article (is_deleted, id DESC);
CREATE INDEX blog_article_title ON blog_article (is_deleted, id, title, state, published_at);
CREATE INDEX blog_article_created ON blog_article (is_deleted, state, created_at DESC, id DESC);
CREATE INDEX blog_article_published ON blog_article (is_deleted, state, published_at DESC, id DESC);
CREATE INDEX blog_article_updated ON blog_article (is_deleted, state, updated_at DESC, id DESC);
CREATE INDEX blog_article_by_title ON blog_article (is_deleted, state, title, id);
CREATE INDEX blog_article_cover ON blog_article (cover_file_id);

CREATE TABLE blog_tag_projection (
    id    integer      NOT NULL PRIMARY KEY,
    name  varchar(100) NOT NULL,
    state tinyint      NOT NULL
);
CREATE INDEX blog_tag_projection_name ON blog_tag_projection (name);
CREATE INDEX blog_tag_projection_state ON blog_tag_projection (state);
CREATE INDEX blog_tag_projection_state_name ON blog_tag_projection (state, name);

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
    article_state tinyint  NOT NULL,
    published_at datetime  NOT NULL,
    CONSTRAINT blog_article_tag_has_article FOREIGN KEY (article_id) REFERENCES blog_article (id) ON DELETE CASCADE,
    CONSTRAINT blog_article_tag_has_tag FOREIGN KEY (tag_id) REFERENCES blog_tag_projection (id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX blog_article_tag_pair ON blog_article_tag (article_id, tag_id);
CREATE INDEX blog_article_tag_tag ON blog_article_tag (tag_id, article_id DESC);
CREATE INDEX blog_article_tag_state ON blog_article_tag (tag_id, article_state, article_id DESC);
CREATE INDEX blog_article_tag_published ON blog_article_tag (tag_id, article_state, published_at DESC, article_id DESC);

CREATE TABLE blog_article_count (
    tag_id bigint  NOT NULL,
    state  tinyint NOT NULL,
    slot   tinyint NOT NULL,
    value  bigint  NOT NULL,
    PRIMARY KEY (tag_id, state, slot)
) WITHOUT ROWID;

CREATE TABLE blog_article_gram (
    gram       varbinary(12) NOT NULL,
    article_id bigint        NOT NULL,
    PRIMARY KEY (gram, article_id)
) WITHOUT ROWID;

CREATE TABLE blog_article_word (
    word       varbinary(32) NOT NULL,
    article_id bigint        NOT NULL,
    weight     tinyint       NOT NULL,
    PRIMARY KEY (word, article_id)
) WITHOUT ROWID;

CREATE TABLE blog_article_slug (
    slug       varchar(100) NOT NULL,
    article_id bigint       NOT NULL,
    retired    bigint       NOT NULL DEFAULT 0,
    PRIMARY KEY (slug)
) WITHOUT ROWID;
CREATE INDEX blog_article_slug_article ON blog_article_slug (article_id, retired);

CREATE TABLE blog_article_outbox (
    id             integer  NOT NULL PRIMARY KEY AUTOINCREMENT,
    created_at     datetime NOT NULL,
    article_id     bigint   NOT NULL,
    visible_before tinyint  NOT NULL,
    visible_after  tinyint  NOT NULL
);

CREATE TABLE blog_article_change (
    sequence        integer  NOT NULL PRIMARY KEY,
    public_sequence bigint   NULL,
    created_at      datetime NOT NULL,
    article_id      bigint   NOT NULL,
    visible_before  tinyint  NOT NULL,
    visible_after   tinyint  NOT NULL
);
CREATE UNIQUE INDEX blog_article_change_public ON blog_article_change (public_sequence);
CREATE INDEX blog_article_change_created_at ON blog_article_change (created_at);

CREATE TABLE blog_article_sequence (
    id           tinyint     NOT NULL PRIMARY KEY,
    value        bigint      NOT NULL,
    public_value bigint      NOT NULL,
    epoch        varchar(36) NOT NULL
);
INSERT INTO blog_article_sequence (id, value, public_value, epoch) VALUES (1, 0, 0, lower(hex(randomblob(16))));

CREATE TABLE blog_import (
    source     varchar(500) NOT NULL,
    created_at datetime     NOT NULL,
    updated_at datetime     NOT NULL,
    digest     varchar(64)  NOT NULL,
    article_id bigint       NOT NULL,
    revision   bigint       NOT NULL,
    PRIMARY KEY (source)
) WITHOUT ROWID;
CREATE INDEX blog_import_digest ON blog_import (digest);
