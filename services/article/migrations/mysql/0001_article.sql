-- +goose Up
-- The keys that end with id DESC list articles, the newest first: InnoDB reads a key
-- forward in half the time of backward. revision counts the changes of the article.
CREATE TABLE IF NOT EXISTS blog_article (
    id              bigint unsigned  NOT NULL AUTO_INCREMENT,
    created_at      datetime(3)      NOT NULL,
    created_by      varchar(64)      NOT NULL DEFAULT '',
    updated_at      datetime(3)      NOT NULL,
    updated_by      varchar(64)      NOT NULL DEFAULT '',
    is_deleted      tinyint unsigned NOT NULL DEFAULT 0,
    title           varchar(100)     NOT NULL,
    slug            varchar(100)     NOT NULL DEFAULT '',
    `desc`          varchar(255)     NOT NULL DEFAULT '',
    cover_image_url varchar(2000)    NOT NULL DEFAULT '',
    content         longtext         NOT NULL,
    state           tinyint unsigned NOT NULL DEFAULT 1,
    revision        bigint unsigned  NOT NULL DEFAULT 1,
    PRIMARY KEY (id),
    KEY blog_article_is_deleted_state (is_deleted, state, id DESC),
    KEY blog_article_is_deleted (is_deleted, id DESC),
    -- A search reads the titles of the articles that it may find here.
    KEY blog_article_title (is_deleted, id, title, state),
    -- Lists in other orders. One of all states reads the entries of each.
    KEY blog_article_created (is_deleted, state, created_at DESC, id DESC),
    KEY blog_article_updated (is_deleted, state, updated_at DESC, id DESC),
    KEY blog_article_by_title (is_deleted, state, title, id),
    CONSTRAINT blog_article_state CHECK (state IN (0, 1)),
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
-- those of a deleted tag. article_state is the state of the article: with it, one
-- index lists the articles of a tag by state, in the order of their ids.
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
    PRIMARY KEY (id),
    UNIQUE KEY blog_article_tag_pair (article_id, tag_id),
    KEY blog_article_tag_tag (tag_id, article_id DESC),
    KEY blog_article_tag_state (tag_id, article_state, article_id DESC),
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

-- Who may have tokens. An app key is compared by its bytes. Of a secret only the
-- bcrypt hash is kept; scope is separated by blanks, as in a token.
CREATE TABLE IF NOT EXISTS blog_client (
    id          bigint unsigned NOT NULL AUTO_INCREMENT,
    created_at  datetime(3)     NOT NULL,
    created_by  varchar(64)     NOT NULL DEFAULT '',
    updated_at  datetime(3)     NOT NULL,
    updated_by  varchar(64)     NOT NULL DEFAULT '',
    app_key     varchar(64)     NOT NULL,
    secret_hash varchar(255)    NOT NULL,
    -- After a rotation, the former secret is valid until then.
    former_hash  varchar(255)   NOT NULL DEFAULT '',
    former_until datetime(3)    NULL,
    scope       varchar(255)    NOT NULL DEFAULT '',
    PRIMARY KEY (id),
    UNIQUE KEY blog_client_app_key (app_key)
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
