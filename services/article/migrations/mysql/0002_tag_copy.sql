-- +goose Up
-- The read model of the tags, and the offset in their change feed. Both are updated
-- in one transaction, so that each change is applied exactly once. The epoch is
-- empty until the first snapshot is loaded.
CREATE TABLE IF NOT EXISTS blog_tag_projection (
    id    bigint unsigned  NOT NULL,
    name  varchar(100)     NOT NULL,
    state tinyint unsigned NOT NULL,
    PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS blog_tag_offset (
    id       tinyint unsigned NOT NULL,
    epoch    varchar(36)      NOT NULL,
    sequence bigint unsigned  NOT NULL,
    PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

INSERT IGNORE INTO blog_tag_offset (id, epoch, sequence) VALUES (1, '', 0);

-- The foreign keys reject associations with unknown tags and articles, and delete
-- those of a deleted tag.
CREATE TABLE IF NOT EXISTS blog_article_tag (
    id         bigint unsigned  NOT NULL AUTO_INCREMENT,
    created_at datetime(3)      NOT NULL,
    created_by varchar(64)      NOT NULL DEFAULT '',
    updated_at datetime(3)      NOT NULL,
    updated_by varchar(64)      NOT NULL DEFAULT '',
    is_deleted tinyint unsigned NOT NULL DEFAULT 0,
    article_id bigint unsigned  NOT NULL,
    tag_id     bigint unsigned  NOT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY blog_article_tag_pair (article_id, tag_id),
    KEY blog_article_tag_tag (tag_id, article_id),
    CONSTRAINT blog_article_tag_has_article FOREIGN KEY (article_id) REFERENCES blog_article (id) ON DELETE CASCADE,
    CONSTRAINT blog_article_tag_has_tag FOREIGN KEY (tag_id) REFERENCES blog_tag_projection (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS blog_article_tag;
DROP TABLE IF EXISTS blog_tag_offset;
DROP TABLE IF EXISTS blog_tag_projection;
