"""What a build leaves for dbt's tools, in dbt's forms."""
