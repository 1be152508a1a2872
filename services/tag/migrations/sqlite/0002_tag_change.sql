-- +goose Up
-- The same tables as in mysql/0002_tag_change.sql, where the reasons stand.
CREATE TABLE blog_tag_sequence (
    id    tinyint     NOT NULL PRIMARY KEY,
    value bigint      NOT NULL,
    epoch varchar(36) NOT NULL
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

-- +goose Down
DROP TABLE blog_tag_change;
DROP TABLE blog_tag_sequence;
