"""Builds on disk: the store and nothing else."""
