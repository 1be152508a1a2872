-- The objects that requests with an Idempotency-Key have created. The id is the
-- SHA-256 of app key and key: of one size, and compared byte by byte, whereas
-- utf8mb4_bin ignores trailing spaces. object is null only within the
-- transaction that has claimed the key.
CREATE TABLE IF NOT EXISTS blog_idempotency_key (
    id          binary(32)  NOT NULL,
    expires_at  datetime(3) NOT NULL,
    fingerprint binary(32)  NOT NULL,
    object      longblob    NULL,
    PRIMARY KEY (id),
    KEY blog_idempotency_key_expires_at (expires_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
