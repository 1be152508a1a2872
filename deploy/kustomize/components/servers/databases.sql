CREATE DATABASE IF NOT EXISTS `achilles_tag` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
GRANT ALL ON `achilles\_tag`.* TO 'achilles'@'%';
CREATE DATABASE IF NOT EXISTS `achilles_article` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
GRANT ALL ON `achilles\_article`.* TO 'achilles'@'%';
