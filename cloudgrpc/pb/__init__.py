"""Generated from proto/ by scripts/generate.py; never edited."""

# sha256 of the proto: 48b622dc6fa9a9c10a623d1c7a69e8e7b90802ff4ad6929b9a948399c4e57a36
