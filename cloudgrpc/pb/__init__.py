"""Generated from proto/ by scripts/generate.py; never edited."""

# sha256 of the proto: bb8c4874e9c040ecc6bb074a489675747a527dbb9791ffb607b7dad5e5922569
