"""Generated from proto/ by scripts/generate.py; never edited."""

# sha256 of the proto: 65513f5db9fe708d3638da6bfa1f8747d78e065b92cac317a915359bc3d84076
