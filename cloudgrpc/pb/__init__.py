"""Generated from proto/ by scripts/generate.py; never edited."""

# sha256 of the proto: e78aa3d50f99a07d4e052dcd75d512784be793c2959b2cb3757c4d88e53edb25
