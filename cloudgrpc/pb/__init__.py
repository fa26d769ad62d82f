"""Generated from proto/ by scripts/generate.py; never edited."""

# sha256 of the proto: f92f6e380bdce75dd5b65169f1343cf9b1c2e25e690f8cfec3c1f67bf6a7832d
