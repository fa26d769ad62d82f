"""Generated from proto/ by scripts/generate.py; never edited."""

# sha256 of the proto: 18cd1f57ab964ffb76d98258a54287466baa111967799641c56b350905d42e79
