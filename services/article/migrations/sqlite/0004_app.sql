-- +goose Up
-- The same table as in mysql/0004_app.sql.
CREATE TABLE blog_client (
    id          integer      NOT NULL PRIMARY KEY AUTOINCREMENT,
    created_at  datetime     NOT NULL,
    created_by  varchar(64)  NOT NULL DEFAULT '',
    updated_at  datetime     NOT NULL,
    updated_by  varchar(64)  NOT NULL DEFAULT '',
    app_key     varchar(64)  NOT NULL,
    secret_hash varchar(255) NOT NULL,
    scope       varchar(255) NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX blog_client_app_key ON blog_client (app_key);

-- +goose Down
DROP TABLE blog_client;
