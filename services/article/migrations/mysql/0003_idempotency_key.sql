-- +goose Up
-- What was answered to requests that carried an Idempotency-Key, each written
-- in the transaction of the request's own write. The id is the SHA-256 of app
-- key and key: of one size, and compared byte by byte, where utf8mb4_bin takes
-- no notice of spaces at the end. The rest is the answer, which only the
-- transaction itself sees without.
CREATE TABLE IF NOT EXISTS blog_idempotency_key (
    id          binary(32)        NOT NULL,
    expires_at  datetime(3)       NOT NULL,
    fingerprint binary(32)        NOT NULL,
    status      smallint unsigned NOT NULL,
    header      text              NOT NULL,
    body        longblob          NULL,
    gzipped     tinyint unsigned  NOT NULL,
    PRIMARY KEY (id),
    KEY blog_idempotency_key_expires_at (expires_at),
    CONSTRAINT blog_idempotency_key_gzipped CHECK (gzipped IN (0, 1))
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS blog_idempotency_key;
