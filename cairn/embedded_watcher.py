"""A tiny process that owns one server and lets it live no longer than the process that asked for it.

Started by `embedded_place.py` as a program of its own, with the standard library only, in a session of its own (so that
Ctrl-C in the terminal reaches nobody but the owner). It is single-threaded on purpose: Linux ties the parent-death
signal to the *thread* that created the child.

- The owner says stop, or dies in any way (end of file on standard input, or a new parent): stop the server cleanly.
- The watcher itself is killed: the kernel sends the server its stop signal (Linux).
- The server is killed: kill the processes it leaves behind, then go, which frees the lock on the folder.
"""

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    """Run the order in the first argument (JSON, see `embedded_place.watch`); prints the server's pid once it runs."""
    order: dict[str, Any] = json.loads(sys.argv[1])
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    wake = _wake_on(signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    server = _launch(order)
    print(server.pid, flush=True)
    _until_the_end(server, order["owner"], wake)
    _stop(server, order["stop"])
    _bury_orphans()
    if order["sockets"] is not None:  # a killed server leaves its socket behind
        shutil.rmtree(order["sockets"], ignore_errors=True)
    return 0


def _wake_on(*signals: signal.Signals) -> int:
    """A descriptor that becomes readable, one byte per signal, when one of the signals arrives."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    for number in signals:
        signal.signal(number, lambda *_: None)
    return reading


def _launch(order: dict[str, Any]) -> subprocess.Popen[bytes]:
    linux = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    watcher, first_signal = os.getpid(), signal.Signals[order["stop"][0][0]]
    if linux is not None:
        linux.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # what a killed server leaves behind becomes ours to end

    def tie_to_watcher() -> None:  # runs in the child after it took its final user, which would have reset this
        if linux is not None:
            linux.prctl(PR_SET_PDEATHSIG, int(first_signal), 0, 0, 0)
        if os.getppid() != watcher:  # the watcher died before the tie was made
            os._exit(1)

    return subprocess.Popen(
        order["command"],
        cwd=order["folder"],
        env=order["environment"],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno(),
        user=order["user"],
        group=order["group"],
        extra_groups=None if order["user"] is None else [],
        umask=0o077,
        pass_fds=[order["lock"]],  # the folder stays locked until the last process of the server has gone
        preexec_fn=tie_to_watcher,  # noqa: PLW1509 # this process has one thread
    )


def _until_the_end(server: subprocess.Popen[bytes], owner: int, wake: int) -> None:
    """Return when the server ended, the owner asked to stop or died, or a signal asked this process to end."""
    while server.poll() is None and os.getppid() == owner:
        # The second is only for a pipe that a forked copy of the owner keeps open after the owner died.
        readable, _, _ = select.select([sys.stdin.fileno(), wake], [], [], 1.0)
        if sys.stdin.fileno() in readable:
            return
        if wake in readable and any(number != signal.SIGCHLD for number in os.read(wake, 64)):
            return


def _stop(server: subprocess.Popen[bytes], steps: list[tuple[str, float]]) -> None:
    """Send each signal in turn until the server ends within that step's seconds; at last kill it."""
    for name, seconds in steps:
        server.send_signal(signal.Signals[name])
        try:
            server.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
        return
    server.kill()
    server.wait()


def _bury_orphans() -> None:
    """End what outlived a killed server. Its data is already in the state of a crash, so nothing more can be lost."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while children.exists() and (orphans := children.read_text().split()):
        for orphan in map(int, orphans):
            os.kill(orphan, signal.SIGKILL)
            os.waitpid(orphan, 0)


if __name__ == "__main__":
    sys.exit(main())
