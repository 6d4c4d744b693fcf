"""Nodes built and tested in a database: what must be rebuilt, how, and what each test found."""
