"""Runs a module as a program that lives no longer than its starter: `python -m cairn.leash api commands queries`.

The starter keeps the other end of our standard input and never writes to it. Its end of file means that the starter is
gone, whatever ended it. Kept apart and small: what a server process imports, it pays for in memory.
"""

import os
import runpy
import signal
import sys
import threading

PATIENCE_SECONDS = 30.0
"""How long an orderly stop may take once the starter is gone."""


def main() -> None:
    """Watch standard input, then become the module named by the first argument."""
    threading.Thread(target=_follow_the_starter, name="leash", daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _follow_the_starter() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(PATIENCE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
