"""Generated from proto/ by scripts/generate.py; never edited."""

# sha256 of the proto: 38b6685eb1edb1b31f3f4fb2deede9d5d624a47468dca435d700292db1799cd7
