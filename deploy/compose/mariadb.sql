-- The account of all services, each of which makes its own database: "migrate" does.
GRANT ALL PRIVILEGES ON `achilles\_%`.* TO 'achilles'@'%';
