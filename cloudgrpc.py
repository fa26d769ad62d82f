"""Launcher: `python3 cloudgrpc.py ROLE …`, the same as the installed command `cloudgrpc`."""

from cloudgrpc.cli import main

if __name__ == "__main__":
    main()
