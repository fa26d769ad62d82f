"""Generated from proto/ by scripts/generate.py; never edited."""

# sha256 of the proto: fbc9554322f650a17073853e71d57d161ab593023b6e3931a1e2444b517361e4
