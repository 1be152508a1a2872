-- The same table as in mysql.sql, which explains it.
CREATE TABLE blog_idempotency_key (
    id          binary(32) NOT NULL PRIMARY KEY,
    expires_at  datetime   NOT NULL,
    fingerprint binary(32) NOT NULL,
    object      longblob   NULL
);
CREATE INDEX blog_idempotency_key_expires_at ON blog_idempotency_key (expires_at);
