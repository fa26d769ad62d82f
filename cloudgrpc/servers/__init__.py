"""Roles that listen: wiring, start and stop only."""
