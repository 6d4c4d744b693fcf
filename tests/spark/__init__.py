"""The same numbers on Spark: models, data tests and unit tests on both engines. `python -m spark` is the long form."""
