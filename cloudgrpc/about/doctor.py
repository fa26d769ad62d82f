"""Stub of the doctor role."""
