"""Where a figure comes from and why it moved: its path to the raw rows, its releases and revisions."""
