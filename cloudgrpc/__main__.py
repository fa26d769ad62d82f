"""`python -m cloudgrpc ROLE …`, the form in which the program starts its own children."""

from cloudgrpc.cli import main

if __name__ == "__main__":
    main()
