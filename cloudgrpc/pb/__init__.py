"""Generated from proto/ by scripts/generate.py; never edited."""

# sha256 of the proto: 21f4dd289b81c108fb23908fdfdc1f9b43df293da75bc35a48bc5e145095b60c
