"""Generated from proto/ by scripts/generate.py; never edited."""

# sha256 of the proto: a65a3f0f2dc31159c26a6aa7ca2292690b9a82ad0e386e290a5d8b4c34aa444c
