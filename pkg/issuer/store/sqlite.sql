-- The same table as in mysql.sql, which explains it.
CREATE TABLE IF NOT EXISTS blog_client (
    id          integer      NOT NULL PRIMARY KEY AUTOINCREMENT,
    created_at  datetime     NOT NULL,
    created_by  varchar(64)  NOT NULL DEFAULT '',
    updated_at  datetime     NOT NULL,
    updated_by  varchar(64)  NOT NULL DEFAULT '',
    app_key     varchar(64)  NOT NULL,
    secret_hash varchar(255) NOT NULL,
    former_hash varchar(255) NOT NULL DEFAULT '',
    former_until datetime    NULL,
    scope       varchar(255) NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX IF NOT EXISTS blog_client_app_key ON blog_client (app_key);
