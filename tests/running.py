"""`cairn up` as people start it: a process of its own, in a data folder of its own, watched from outside."""

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

ROOT = Path(__file__).parent.parent
PATIENCE_SECONDS = 120.0
OURS = {"CAIRN_SAMPLE_DATA": "carried", "PYTHONUNBUFFERED": "1"}
"""The same sample on every machine."""


class Up:
    """A `cairn up` under test. `lines` is everything it said so far, on either stream."""

    def __init__(
        self, folder: Path, *options: str, under: Sequence[str] = (), settings: Mapping[str, str] | None = None
    ):
        self.folder = folder
        self.lines: list[str] = []
        self._said: queue.Queue[str | None] = queue.Queue()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CAIRN_")}
        self.process = subprocess.Popen(
            [*under, sys.executable, "-m", "cairn", "up", *options],
            cwd=ROOT,
            env=kept | OURS | {"CAIRN_DATA_FOLDER": str(folder)} | dict(settings or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        threading.Thread(target=self._listen, args=[self.process.stdout], daemon=True).start()

    def _listen(self, output: IO[str]) -> None:
        with output:
            for line in output:
                self._said.put(line.rstrip("\n"))
        self._said.put(None)

    def until(self, pattern: str) -> re.Match[str]:
        """Waits for a line it says from now on."""
        while (line := self._said.get(timeout=PATIENCE_SECONDS)) is not None:
            self.lines.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"it ended without saying {pattern!r}:\n" + "\n".join(self.lines))

    def until_up(self) -> str:
        """Waits until it serves and has said all it has to say; its URL."""
        url = self.until(r"Cairn runs at (\S+)").group(1)
        self.until("Ctrl-C stops everything")
        return url

    def family(self) -> list[psutil.Process]:
        """It and every process it started, directly or not."""
        mine = psutil.Process(self.process.pid)
        return [mine, *mine.children(recursive=True)]

    def named(self, word: str) -> psutil.Process:
        """The process whose command line has this word, or whose name it is."""
        for process in self.family():
            with suppress(psutil.NoSuchProcess):  # it ended meanwhile
                command = process.cmdline()
                if process.name() == word or ("cairn.leash" in command and word in command):
                    return process
        raise AssertionError(f"no process {word!r}")

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends it a signal and waits until it and all it started are gone; its exit code."""
        family = self.family() if self.process.poll() is None else []
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_SECONDS)
        assert left_over(family) == []
        return code


def left_over(family: list[psutil.Process]) -> list[list[str]]:
    """The command lines of those still there after a while."""
    _, alive = psutil.wait_procs(family, timeout=PATIENCE_SECONDS)
    return [process.cmdline() for process in alive]
