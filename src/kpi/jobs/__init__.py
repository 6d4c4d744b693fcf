"""What a command runs, one job a file."""
