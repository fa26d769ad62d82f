"""Generated from proto/ by scripts/generate.py; never edited."""

# sha256 of the proto: 9d356fa3df722997d0e0a740675aaebb60c72ef480e1c8f6404afc0757327b7c
