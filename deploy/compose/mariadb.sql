-- Each service makes its own database ("migrate" does), with an account of its own.
# BEGIN GENERATED compose-accounts from services/services.yaml by make generate
EXECUTE IMMEDIATE CONCAT('CREATE USER ''achilles_tag''@''%'' IDENTIFIED BY ',
  QUOTE(TRIM(TRAILING '\n' FROM CONVERT(LOAD_FILE('/run/secrets/database-tag') USING utf8mb4))));
GRANT ALL PRIVILEGES ON `achilles\_tag`.* TO 'achilles_tag'@'%';
EXECUTE IMMEDIATE CONCAT('CREATE USER ''achilles_article''@''%'' IDENTIFIED BY ',
  QUOTE(TRIM(TRAILING '\n' FROM CONVERT(LOAD_FILE('/run/secrets/database-article') USING utf8mb4))));
GRANT ALL PRIVILEGES ON `achilles\_article`.* TO 'achilles_article'@'%';
# END GENERATED
