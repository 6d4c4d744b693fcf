"""Delivered files to raw tables: every record is loaded, or rejected with its reasons."""
