"""What a node is: a template rendered, parsed and held to the house rules; seeds, snapshots, hooks and tests."""
