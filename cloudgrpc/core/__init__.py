"""Decisions without I/O, clock or randomness: those come in as arguments."""
