-- +goose Up
-- The bytes that the storage of files has, or may have, by their SHA-256. unused_since is NULL
-- while files refer to them, and otherwise the time since which none is known to: those that
-- stay unused are collected. A file without its bytes is impossible, so its row is
-- inserted last, and the foreign key keeps the bytes.
CREATE TABLE IF NOT EXISTS blog_blob (
    sha256       binary(32)      NOT NULL,
    size         bigint unsigned NOT NULL,
    unused_since datetime(3)     NULL,
    PRIMARY KEY (sha256),
    KEY blog_blob_unused (unused_since)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS blog_file (
    id         bigint unsigned NOT NULL AUTO_INCREMENT,
    created_at datetime(3)     NOT NULL,
    created_by varchar(64)     NOT NULL DEFAULT '',
    name       varchar(255)    NOT NULL,
    size       bigint unsigned NOT NULL,
    type       varchar(100)    NOT NULL,
    sha256     binary(32)      NOT NULL,
    width      int unsigned    NOT NULL DEFAULT 0,
    height     int unsigned    NOT NULL DEFAULT 0,
    PRIMARY KEY (id),
    KEY blog_file_sha256 (sha256),
    KEY blog_file_created_by (created_by, id DESC),
    CONSTRAINT blog_file_has_blob FOREIGN KEY (sha256) REFERENCES blog_blob (sha256) ON DELETE RESTRICT
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- What the files of each client take.
CREATE TABLE IF NOT EXISTS blog_file_usage (
    client varchar(64) NOT NULL,
    files  bigint      NOT NULL,
    bytes  bigint      NOT NULL,
    PRIMARY KEY (client)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- The keys that end with id DESC list articles, the newest first: InnoDB reads a key
-- forward in half the time of backward. revision counts the changes of the article.
-- state is 0 for a disabled article, 1 for one that everybody sees, and 2 for one that is
-- scheduled: it is enabled, and everybody sees it from published_at on. When that time has
-- come, somebody changes the state to 1; until then, queries compare the time.
CREATE TABLE IF NOT EXISTS blog_article (
    id              bigint unsigned  NOT NULL AUTO_INCREMENT,
    created_at      datetime(3)      NOT NULL,
    created_by      varchar(64)      NOT NULL DEFAULT '',
    updated_at      datetime(3)      NOT NULL,
    updated_by      varchar(64)      NOT NULL DEFAULT '',
    published_at    datetime(3)      NOT NULL,
    is_deleted      tinyint unsigned NOT NULL DEFAULT 0,
    title           varchar(100)     NOT NULL,
    slug            varchar(100)     NOT NULL DEFAULT '',
    `desc`          varchar(255)     NOT NULL DEFAULT '',
    cover_image_url varchar(2000)    NOT NULL DEFAULT '',
    cover_file_id   bigint unsigned  NULL,
    content         longtext         NOT NULL,
    state           tinyint unsigned NOT NULL DEFAULT 1,
    revision        bigint unsigned  NOT NULL DEFAULT 1,
    PRIMARY KEY (id),
    KEY blog_article_is_deleted_state (is_deleted, state, id DESC),
    KEY blog_article_is_deleted (is_deleted, id DESC),
    -- A search reads here the titles of the articles that it may find, and whether they are public.
    KEY blog_article_title (is_deleted, id, title, state, published_at),
    -- Lists in other orders. One of all states reads the entries of each.
    KEY blog_article_created (is_deleted, state, created_at DESC, id DESC),
    KEY blog_article_published (is_deleted, state, published_at DESC, id DESC),
    KEY blog_article_updated (is_deleted, state, updated_at DESC, id DESC),
    KEY blog_article_by_title (is_deleted, state, title, id),
    KEY blog_article_cover (cover_file_id),
    CONSTRAINT blog_article_has_cover FOREIGN KEY (cover_file_id) REFERENCES blog_file (id) ON DELETE SET NULL,
    CONSTRAINT blog_article_state CHECK (state IN (0, 1, 2)),
    CONSTRAINT blog_article_flag CHECK (is_deleted IN (0, 1))
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- The read model of the tags, and the offset in their change feed. Both are updated
-- in one transaction, so that each change is applied exactly once. The epoch is
-- empty until the first snapshot is loaded.
CREATE TABLE IF NOT EXISTS blog_tag_projection (
    id    bigint unsigned  NOT NULL,
    name  varchar(100)     NOT NULL,
    state tinyint unsigned NOT NULL,
    PRIMARY KEY (id),
    KEY blog_tag_projection_name (name),
    KEY blog_tag_projection_state (state),
    KEY blog_tag_projection_state_name (state, name)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS blog_tag_offset (
    id       tinyint unsigned NOT NULL,
    epoch    varchar(36)      NOT NULL,
    sequence bigint unsigned  NOT NULL,
    PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

INSERT IGNORE INTO blog_tag_offset (id, epoch, sequence) VALUES (1, '', 0);

-- The foreign keys reject associations with unknown tags and articles, and delete
-- those of a deleted tag. article_state and published_at are those of the article: with
-- them, an index lists the articles of a tag by state, in the order of their ids or times.
CREATE TABLE IF NOT EXISTS blog_article_tag (
    id         bigint unsigned  NOT NULL AUTO_INCREMENT,
    created_at datetime(3)      NOT NULL,
    created_by varchar(64)      NOT NULL DEFAULT '',
    updated_at datetime(3)      NOT NULL,
    updated_by varchar(64)      NOT NULL DEFAULT '',
    is_deleted tinyint unsigned NOT NULL DEFAULT 0,
    article_id bigint unsigned  NOT NULL,
    tag_id     bigint unsigned  NOT NULL,
    article_state tinyint unsigned NOT NULL,
    published_at datetime(3)    NOT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY blog_article_tag_pair (article_id, tag_id),
    KEY blog_article_tag_tag (tag_id, article_id DESC),
    KEY blog_article_tag_state (tag_id, article_state, article_id DESC),
    KEY blog_article_tag_published (tag_id, article_state, published_at DESC, article_id DESC),
    CONSTRAINT blog_article_tag_has_article FOREIGN KEY (article_id) REFERENCES blog_article (id) ON DELETE CASCADE,
    CONSTRAINT blog_article_tag_has_tag FOREIGN KEY (tag_id) REFERENCES blog_tag_projection (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- The numbers of articles that are not deleted by state: of those with a tag, or of all
-- if tag_id is 0. A number is the sum of its slots; a write changes one of them, so that
-- writes seldom wait for each other.
CREATE TABLE IF NOT EXISTS blog_article_count (
    tag_id bigint unsigned  NOT NULL,
    state  tinyint unsigned NOT NULL,
    slot   tinyint unsigned NOT NULL,
    value  bigint           NOT NULL,
    PRIMARY KEY (tag_id, state, slot)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- The grams of the titles of articles that are not deleted, in UTF-8: with them, a search
-- finds parts of titles. Within a gram, the ids are in the order of lists.
CREATE TABLE IF NOT EXISTS blog_article_gram (
    gram       varbinary(12)   NOT NULL,
    article_id bigint unsigned NOT NULL,
    PRIMARY KEY (gram, article_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- The words of articles that are not deleted, in UTF-8: with them, a search finds
-- articles by their words. weight says which parts of the article have the word.
CREATE TABLE IF NOT EXISTS blog_article_word (
    word       varbinary(32)    NOT NULL,
    article_id bigint unsigned  NOT NULL,
    weight     tinyint unsigned NOT NULL,
    PRIMARY KEY (word, article_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- The slugs of articles that are not deleted: the current one, which blog_article has, too,
-- and former ones, which still lead to the article. retired is 0 for the current one, and
-- otherwise the revision with which the article got another one.
CREATE TABLE IF NOT EXISTS blog_article_slug (
    slug       varchar(100)    NOT NULL,
    article_id bigint unsigned NOT NULL,
    retired    bigint unsigned NOT NULL DEFAULT 0,
    PRIMARY KEY (slug),
    KEY blog_article_slug_article (article_id, retired)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- The feed of changes of the articles. A write adds its change to the outbox, in its
-- transaction. A reader of the feed moves changes to blog_article_change and gives them
-- numbers, while the row of blog_article_sequence is locked; so writes don't wait for each
-- other. Those of articles that were visible to everybody before or after have a number in
-- the public feed, too. The epoch distinguishes this feed from that of another database.
CREATE TABLE IF NOT EXISTS blog_article_outbox (
    id             bigint unsigned  NOT NULL AUTO_INCREMENT,
    created_at     datetime(3)      NOT NULL,
    article_id     bigint unsigned  NOT NULL,
    visible_before tinyint unsigned NOT NULL,
    visible_after  tinyint unsigned NOT NULL,
    PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS blog_article_change (
    sequence        bigint unsigned  NOT NULL,
    public_sequence bigint unsigned  NULL,
    created_at      datetime(3)      NOT NULL,
    article_id      bigint unsigned  NOT NULL,
    visible_before  tinyint unsigned NOT NULL,
    visible_after   tinyint unsigned NOT NULL,
    PRIMARY KEY (sequence),
    UNIQUE KEY blog_article_change_public (public_sequence),
    KEY blog_article_change_created_at (created_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS blog_article_sequence (
    id           tinyint unsigned NOT NULL,
    value        bigint unsigned  NOT NULL,
    public_value bigint unsigned  NOT NULL,
    epoch        varchar(36)      NOT NULL,
    PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

INSERT IGNORE INTO blog_article_sequence (id, value, public_value, epoch) VALUES (1, 0, 0, UUID());

-- The articles that were imported, by the names of their files. digest identifies what the
-- file meant, and revision is that of the article after the import: if the article has another
-- one, it was changed since. An article that is gone keeps its row, so that it is not imported
-- again.
CREATE TABLE IF NOT EXISTS blog_import (
    source     varchar(500)    NOT NULL,
    created_at datetime(3)     NOT NULL,
    updated_at datetime(3)     NOT NULL,
    digest     varchar(64)     NOT NULL,
    article_id bigint unsigned NOT NULL,
    revision   bigint unsigned NOT NULL,
    PRIMARY KEY (source),
    KEY blog_import_digest (digest)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
