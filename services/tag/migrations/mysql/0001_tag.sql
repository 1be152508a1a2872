-- +goose Up
-- The key on is_deleted alone lists tags in the order of their ids, without
-- sorting, because every key of InnoDB ends with the id.
-- The keys with created_at and active_name list tags in these orders in the same way.
-- active_name is the name of a tag that is not deleted, else null: its unique key
-- forbids equal names except among deleted tags.
-- revision counts the changes of the tag.
CREATE TABLE IF NOT EXISTS blog_tag (
    id          bigint unsigned  NOT NULL AUTO_INCREMENT,
    created_at  datetime(3)      NOT NULL,
    created_by  varchar(64)      NOT NULL DEFAULT '',
    updated_at  datetime(3)      NOT NULL,
    updated_by  varchar(64)      NOT NULL DEFAULT '',
    is_deleted  tinyint unsigned NOT NULL DEFAULT 0,
    name        varchar(100)     NOT NULL,
    state       tinyint unsigned NOT NULL DEFAULT 1,
    revision    bigint unsigned  NOT NULL DEFAULT 1,
    active_name varchar(100) GENERATED ALWAYS AS (CASE WHEN is_deleted = 0 THEN name END) STORED,
    PRIMARY KEY (id),
    UNIQUE KEY blog_tag_active_name (active_name),
    KEY blog_tag_is_deleted_state (is_deleted, state),
    KEY blog_tag_is_deleted (is_deleted),
    KEY blog_tag_state_active_name (state, active_name),
    KEY blog_tag_is_deleted_created_at (is_deleted, created_at),
    KEY blog_tag_is_deleted_state_created_at (is_deleted, state, created_at),
    CONSTRAINT blog_tag_state CHECK (state IN (0, 1)),
    CONSTRAINT blog_tag_flag CHECK (is_deleted IN (0, 1))
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- The row of blog_tag_sequence numbers the changes. Every write of a tag updates
-- it; its lock, which is held until the commit, keeps the sequence without gaps and
-- in the order of commits. The epoch distinguishes this feed from that of another
-- database. The row also has the numbers of tags that are not deleted, by state.
CREATE TABLE IF NOT EXISTS blog_tag_sequence (
    id            tinyint unsigned NOT NULL,
    value         bigint unsigned  NOT NULL,
    epoch         varchar(36)      NOT NULL,
    enabled_tags  bigint           NOT NULL DEFAULT 0,
    disabled_tags bigint           NOT NULL DEFAULT 0,
    PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

INSERT IGNORE INTO blog_tag_sequence (id, value, epoch) VALUES (1, 0, UUID());

CREATE TABLE IF NOT EXISTS blog_tag_change (
    sequence   bigint unsigned  NOT NULL,
    created_at datetime(3)      NOT NULL,
    tag_id     bigint unsigned  NOT NULL,
    kind       varchar(8)       NOT NULL,
    name       varchar(100)     NOT NULL,
    state      tinyint unsigned NOT NULL,
    PRIMARY KEY (sequence),
    KEY blog_tag_change_created_at (created_at),
    CONSTRAINT blog_tag_change_kind CHECK (kind IN ('put', 'delete'))
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
