"""What tells about this program and this machine: version, doctor, shell completion, the manual page."""
