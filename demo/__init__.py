"""Synthetic deliveries at the county's true volumes, plainly labelled so."""
