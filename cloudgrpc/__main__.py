"""`python -m cloudgrpc ROLE …`, the form in which the program starts its own children."""

import signal

# While what Python needs is read, a Ctrl-C ends us as it ends a program in C, not with a traceback. See executable.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from cloudgrpc.cli import main

if __name__ == "__main__":
    main()
