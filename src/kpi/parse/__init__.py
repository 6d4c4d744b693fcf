"""A dbt project as it is written: settings, properties, macros and the files they speak of, as frozen values."""
