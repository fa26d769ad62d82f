"""Stub of the version role."""
