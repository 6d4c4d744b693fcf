"""The whole project at once: its graph, selection, columns bound before anything runs, and lineage."""
