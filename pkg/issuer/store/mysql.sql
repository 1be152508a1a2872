-- Who may have tokens. An app key is compared by its bytes. Of a secret only the
-- bcrypt hash is kept; scope is separated by blanks, as in a token.
CREATE TABLE IF NOT EXISTS blog_client (
    id          bigint unsigned NOT NULL AUTO_INCREMENT,
    created_at  datetime(3)     NOT NULL,
    created_by  varchar(64)     NOT NULL DEFAULT '',
    updated_at  datetime(3)     NOT NULL,
    updated_by  varchar(64)     NOT NULL DEFAULT '',
    app_key     varchar(64)     NOT NULL,
    secret_hash varchar(255)    NOT NULL,
    -- After a rotation, the former secret is valid until then.
    former_hash  varchar(255)   NOT NULL DEFAULT '',
    former_until datetime(3)    NULL,
    scope       varchar(255)    NOT NULL DEFAULT '',
    PRIMARY KEY (id),
    UNIQUE KEY blog_client_app_key (app_key)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
