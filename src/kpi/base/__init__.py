"""What all else stands on: errors, events, the lock, names in SQL, YAML with its lines, and what is asked of DuckDB."""
