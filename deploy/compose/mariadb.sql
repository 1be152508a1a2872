-- The account of both services, each of which makes its own database: "migrate" does.
GRANT ALL PRIVILEGES ON `achilles\_tag`.* TO 'achilles'@'%';
GRANT ALL PRIVILEGES ON `achilles\_article`.* TO 'achilles'@'%';
