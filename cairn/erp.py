"""The example ERP that a trial system is connected to: which records it has, and where it keeps them."""

from pathlib import Path
from typing import Final

from cairn import demo

KEY: Final = "example-key"
"""What it wants to be shown, in the header X-API-Key."""
EXPORTS: Final = "nyc-sca-phase-schedules"
"""The folder of published schedules, two quarters after each other."""
MADE_UP: Final = 5_000
"""Records where no published ones are at hand."""


def exports(sample_data: str | None) -> Path | None:
    """The folder of published exports, where there is one."""
    if sample_data == demo.CARRIED:
        return None
    folder = Path(sample_data or demo.BESIDE) / EXPORTS
    return folder if folder.is_dir() else None


def arguments(folder: Path, port: int, sample_data: str | None) -> tuple[str, ...]:
    """What it is started with: a module, and its options. It goes on from what it kept in `folder`."""
    published = exports(sample_data)
    source: tuple[str, ...] = ("--records", str(MADE_UP), "--seed", str(demo.SEED))
    state = "made-up"
    if published is not None:
        source, state = ("--data", str(published.absolute())), "published"
    options = ("--port", str(port), "--state", str(folder / "erp" / state), "--auth", "key", "--api-key", KEY)
    return ("examples.upstream", *options, *source)
