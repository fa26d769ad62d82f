"""Generated from proto/ by scripts/generate.py; never edited."""

# sha256 of the proto: 158df3af5b00e768181bff7a60fca8b702b419811a4d32022fa36094d8535342
