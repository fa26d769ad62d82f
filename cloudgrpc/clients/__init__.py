"""Roles that call the gateway, over the network only."""
