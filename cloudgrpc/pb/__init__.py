"""Generated from proto/ by scripts/generate.py; never edited."""

# sha256 of the proto: eeb1c116f121bea6357fd02f1be94509a25065e0599647bc33fdefcd8286a023
