-- +goose Up
-- The one row of blog_tag_sequence numbers the changes. Every write of a tag
-- updates it first, and its row lock, held until the commit, makes the
-- sequence free of gaps and committed in order. The epoch tells this feed from
-- that of another database, such as one set up anew.
CREATE TABLE IF NOT EXISTS blog_tag_sequence (
    id    tinyint unsigned NOT NULL,
    value bigint unsigned  NOT NULL,
    epoch varchar(36)      NOT NULL,
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

-- +goose Down
DROP TABLE IF EXISTS blog_tag_change;
DROP TABLE IF EXISTS blog_tag_sequence;
