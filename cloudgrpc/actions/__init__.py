"""What the platform does, told in terms of meta and chunks."""
