"""What speaks to services that are not ours: the mail server."""
