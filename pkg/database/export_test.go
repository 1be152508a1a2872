package database

import "time"

func (m Migrations) WithLockWait(wait time.Duration) Migrations {
	m.lockWait = wait
	return m
}

func (m Migrations) WithIdleTimeout(idle time.Duration) Migrations {
	m.idleTimeout = idle
	return m
}

// ExpensiveWaiting returns the number of expensive reads that wait for room.
func (db *DB) ExpensiveWaiting() int { return int(db.bulkheads.expensive.waiting.Load()) }
