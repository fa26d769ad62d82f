"""The shell: its commands, its prompt, and what they print."""
