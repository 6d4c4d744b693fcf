"""Speed of kpi as ratios to bare DuckDB in the same run; see bench.py."""
