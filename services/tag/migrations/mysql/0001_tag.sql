-- +goose Up
-- The key on is_deleted alone lists in the order of the ids, which every key of
-- InnoDB ends with, without sorting.
-- active_name is the name while the tag is not deleted and null afterwards:
-- under a unique key it keeps living names apart and lets a name be deleted
-- any number of times.
CREATE TABLE IF NOT EXISTS blog_tag (
    id          bigint unsigned  NOT NULL AUTO_INCREMENT,
    created_at  datetime(3)      NOT NULL,
    created_by  varchar(64)      NOT NULL DEFAULT '',
    updated_at  datetime(3)      NOT NULL,
    updated_by  varchar(64)      NOT NULL DEFAULT '',
    is_deleted  tinyint unsigned NOT NULL DEFAULT 0,
    name        varchar(100)     NOT NULL,
    state       tinyint unsigned NOT NULL DEFAULT 1,
    active_name varchar(100) GENERATED ALWAYS AS (CASE WHEN is_deleted = 0 THEN name END) STORED,
    PRIMARY KEY (id),
    UNIQUE KEY blog_tag_active_name (active_name),
    KEY blog_tag_is_deleted_state (is_deleted, state),
    KEY blog_tag_is_deleted (is_deleted),
    CONSTRAINT blog_tag_state CHECK (state IN (0, 1)),
    CONSTRAINT blog_tag_flag CHECK (is_deleted IN (0, 1))
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS blog_tag;
