package store

// Waiting returns the number of lists that wait for the database.
func (s *Store) Waiting() int { return s.lists.Waiting() }
