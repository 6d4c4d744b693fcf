"""Nodes compiled, selected, run and tested."""
