"""What we know about files, people and nodes. SQL lives here only; one function is one transaction."""
