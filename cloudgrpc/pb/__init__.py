"""Generated from proto/ by scripts/generate.py; never edited."""

# sha256 of the proto: 5bd6651daf3e2cbd782fca9153d3762589f158c360089596e9f4cbc11b59b8d2
