-- +goose Up
-- The same table as in mysql/0003_idempotency_key.sql, where the reasons stand.
CREATE TABLE blog_idempotency_key (
    id          binary(32) NOT NULL PRIMARY KEY,
    expires_at  datetime   NOT NULL,
    fingerprint binary(32) NOT NULL,
    status      smallint   NOT NULL,
    header      text       NOT NULL,
    body        longblob   NULL,
    gzipped     tinyint    NOT NULL,
    CONSTRAINT blog_idempotency_key_gzipped CHECK (gzipped IN (0, 1))
);
CREATE INDEX blog_idempotency_key_expires_at ON blog_idempotency_key (expires_at);

-- +goose Down
DROP TABLE blog_idempotency_key;
