"""Stub of the completion role."""
