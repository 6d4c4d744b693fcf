"""One protocol of a database with two implementations, none of which knows a model: DuckDB and Spark."""
