"""What people look at: pages, charts and exports made from one build, with the text of each language."""
