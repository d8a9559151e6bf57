"""`cairn replay` folds the log and tells when a read model says something else."""

from uuid import UUID

import click
import psycopg
import pytest

from cairn import replay
from cairn.replay import Moment
from eventstore.settings import StoreSettings

COMPANY = UUID("7d0f3a52-9a3e-4f0b-8b0e-0d6c5b1f2a11")
PROJECT = UUID("7d0f3a52-9a3e-4f0b-8b0e-0d6c5b1f2a12")
ESTIMATE = UUID("7d0f3a52-9a3e-4f0b-8b0e-0d6c5b1f2a13")


async def _compared(settings: StoreSettings, what: str, id: UUID | None, at: Moment = None) -> bool:
    return await replay.compared(settings, COMPANY, (what, id, at), lambda title, done, total: None)


@pytest.mark.parametrize(("at", "total"), [(None, "15.00"), (5, "15.00"), (4, "0.00")])
async def test_an_estimate_as_of_then(
    settings: StoreSettings, capsys: pytest.CaptureFixture[str], at: int | None, total: str
) -> None:
    assert await _compared(settings, "estimate", ESTIMATE, at)
    assert f"base_total      {total}" in capsys.readouterr().out


async def test_before_it_was_there_both_say_so(settings: StoreSettings, capsys: pytest.CaptureFixture[str]) -> None:
    assert await _compared(settings, "estimate", ESTIMATE, 2)
    assert "not there yet" in capsys.readouterr().out


async def test_a_project_and_a_model(settings: StoreSettings) -> None:
    assert await _compared(settings, "project", PROJECT)
    assert await _compared(settings, "estimate_detail", None)


async def test_a_read_model_that_lies_is_found(settings: StoreSettings, capsys: pytest.CaptureFixture[str]) -> None:
    assert settings.database_url is not None
    with psycopg.connect(settings.database_url) as connection:
        connection.execute("update read.estimate_detail_estimates set base_total = 1")
    assert not await _compared(settings, "estimate", ESTIMATE)
    assert "but the read model says 1" in capsys.readouterr().out
    assert not await _compared(settings, "estimate_detail", None)


@pytest.mark.parametrize(
    ("what", "id", "at", "words"),
    [
        ("estimate", None, None, "needs the estimate's id"),
        ("nonsense", None, None, "neither estimate, project nor a read model"),
        ("estimate", ESTIMATE, 99, "the log ends at position 5"),
    ],
)
async def test_what_cannot_be_replayed_is_explained(
    settings: StoreSettings, what: str, id: UUID | None, at: int | None, words: str
) -> None:
    with pytest.raises(click.UsageError, match=words):
        await _compared(settings, what, id, at)
