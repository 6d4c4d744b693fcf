"""The nightly job: the refresh and all that keeps people informed of it."""
