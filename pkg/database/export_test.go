package database

import "time"

func (m Migrations) WithLockWait(wait time.Duration) Migrations {
	m.lockWait = wait
	return m
}
