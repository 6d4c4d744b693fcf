"""The reading side: builds as connections and frames, what differs between them, and whether they are well."""
