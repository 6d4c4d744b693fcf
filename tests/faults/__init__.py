"""A refresh that is killed, starved, locked out, misled and lied to, while readers go on reading: `make faults`."""
