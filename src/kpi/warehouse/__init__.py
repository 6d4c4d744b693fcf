"""The builds on disk: one on its way from a private folder to its name, those kept, and the runs that made them."""
