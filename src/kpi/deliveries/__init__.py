"""From delivered files to raw tables: contracts, encodings, records, values, rejects with reasons."""
