"""A dbt project as written, as frozen values. Runs nothing."""
