"""A report year validated by rules. The only package that imports Great Expectations."""
