-- +goose Up
-- The key on is_deleted alone lists in the order of the ids, which every key of
-- InnoDB ends with, without sorting.
CREATE TABLE IF NOT EXISTS blog_article (
    id              bigint unsigned  NOT NULL AUTO_INCREMENT,
    created_at      datetime(3)      NOT NULL,
    created_by      varchar(64)      NOT NULL DEFAULT '',
    updated_at      datetime(3)      NOT NULL,
    updated_by      varchar(64)      NOT NULL DEFAULT '',
    is_deleted      tinyint unsigned NOT NULL DEFAULT 0,
    title           varchar(100)     NOT NULL,
    `desc`          varchar(255)     NOT NULL DEFAULT '',
    cover_image_url varchar(255)     NOT NULL DEFAULT '',
    content         longtext         NOT NULL,
    state           tinyint unsigned NOT NULL DEFAULT 1,
    revision        bigint unsigned  NOT NULL DEFAULT 1,
    PRIMARY KEY (id),
    KEY blog_article_is_deleted_state (is_deleted, state),
    KEY blog_article_is_deleted (is_deleted),
    -- No index finds a part of a title, but this one has all titles together.
    KEY blog_article_title (is_deleted, state, title),
    CONSTRAINT blog_article_state CHECK (state IN (0, 1)),
    CONSTRAINT blog_article_flag CHECK (is_deleted IN (0, 1))
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS blog_article;
