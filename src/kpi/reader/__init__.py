"""What readers do with a build: figures, differences, exports."""
