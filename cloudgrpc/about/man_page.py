"""Stub of the man_page role."""
