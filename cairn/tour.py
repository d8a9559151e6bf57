"""Things to try with curl on the sample, and on the records of the example ERP. Each works as pasted, in this order,
and again.
"""

import json
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from cairn.client import Command
from cairn.demo import IDS, Loaded
from cairn.mirroring import CONNECTION, Trial

DRAFT = uuid5(IDS, "tour/draft")
JSON = "-H 'Content-Type: application/json'"
GET = 'curl -s -H "$A"'
POST = f'curl -s -H "$A" {JSON}'


class Step(NamedTuple):
    """What there is to see, and the command that shows it."""

    title: str
    command: str


def variables(url: str, loaded: Loaded, trial: Trial | None) -> list[str]:
    """What the commands are written with: the API, the token, the project, its first estimate and lowest bid, a new
    version's id, the position of the log after the load, and what there is of the example ERP.
    """
    of_trial = [
        f"CONNECTION={CONNECTION}",
        *([] if trial is None else [f"{name.upper()}={getattr(trial, name)}" for name in trial.__struct_fields__]),
    ]
    return [
        f"CAIRN={url}",
        f"TOKEN={loaded.token}",
        'A="Authorization: Bearer $TOKEN"',
        f"PROJECT={loaded.project}",
        f"ESTIMATE={loaded.estimates[0]}",
        f"BID={loaded.estimates[1]}",
        f"NEW={DRAFT}",
        f"POSITION={loaded.position}",
        *(of_trial if trial is not None else []),
    ]


def lines(url: str, loaded: Loaded, trial: Trial | None) -> list[str]:
    """The tour as text: the variables, then a comment and a command each."""
    text = ["", "# Paste these first:", *variables(url, loaded, trial)]
    for number, step in enumerate([*steps(loaded), *(steps_on_records() if trial is not None else [])], 1):
        text += ["", f"# {number}. {step.title}", step.command]
    return [*text, ""]


def steps_on_records() -> list[Step]:
    """On what is mirrored of the example ERP: looking, drafting, a sync underneath, and the way back."""
    of_connection = "$CAIRN/connections/$CONNECTION"
    saved = '{"connection_id":"$CONNECTION","drafts":[{"record_id":"$RECORD","fields":{"forecast_cost":"1250000.00"}}]}'
    many = '{"filter":{"record_class":["In-Progress"]},"fields":{"forecast_end":"2027-12-31"}}'
    requested = '{"connection_id":"$CONNECTION","run_id":"$SYNC","mode":"incremental"}'
    opened = '{"connection_id":"$CONNECTION","drafts_id":"$DRAFTS"}'
    sort = "category=Construction&sort=forecast_cost&direction=descending&limit=2"
    return [
        Step("The ERP's records, mirrored: the costliest construction.", f'{GET} "{of_connection}/records?{sort}"'),
        Step("What they add up to by two groups, and how many amounts are withheld.", f'{GET} "{of_connection}/kpis"'),
        Step("A draft over a record that belongs to the ERP.", _said("$DRAFT", saved, "drafts/$DRAFTS/save-drafts")),
        Step("The record as its drafter sees it: draft, baseline and both.", f"{GET} {of_connection}/records/$RECORD"),
        Step(
            "What one change to all that is in progress would do. Nothing is stored.",
            _asked(many, f"{of_connection}/drafts/preview"),
        ),
        Step(
            "The ERP moves on to its next quarter, and is synced again.",
            f"curl -s -X POST $ERP/advance; {_said('$SYNC', requested, 'mirror/$MIRROR/request-sync')}",
        ),
        Step(
            "How that went: counts by typed comparison, once it has ended.",
            f'{GET} "{of_connection}/runs/$SYNC?wait_seconds=15"',
        ),
        Step("All drafts on their way back to the ERP.", _said("$COMMIT", opened, "changeset/$COMMIT/open-changeset")),
        Step(
            "What became of each: confirmed by the ERP, or in conflict with what it has now.",
            f'{GET} "$CAIRN/changesets/$COMMIT?wait_seconds=10"; {GET} $CAIRN/changesets/$COMMIT/records',
        ),
    ]


def _said(key: str, body: str, path: str) -> str:
    return f'{POST} -H "Idempotency-Key: {key}" -d "{_quoted(body)}" $CAIRN/commands/{path}'


def _asked(body: str, url: str) -> str:
    return f'{POST} -d "{_quoted(body)}" {url}'


def _quoted(body: str) -> str:
    """For between double quotes in a shell, so that its variables are put in."""
    return body.replace('"', '\\"')


def steps(loaded: Loaded) -> list[Step]:
    """On the contract."""
    start, revise = _started(loaded), _revised(loaded, "0.16", "tour/edit")
    edit = _revised(loaded, "0.17", "tour/seen")
    replayed = _post(start, "$NEW")
    history = f'"$CAIRN/estimates/$BID/history?line_id={loaded.rumble_strips}"'
    return [
        Step("Six versions of one contract, with totals to the cent.", f"{GET} $CAIRN/projects/$PROJECT/estimates"),
        Step(
            "What the lowest bid changed in one line: who, when, old and new. Its submitted extension stands.",
            f"{GET} {history}",
        ),
        Step(
            "The lowest bid as of the moment it was started: still the engineer's prices.",
            f'{GET} "$CAIRN/estimates/$BID?at={loaded.bid_started_at}"',
        ),
        Step(
            "Two commands in one batch: a new version from the bid, and an edit. Two outcomes.", _batch(start, revise)
        ),
        Step("The first of them again: the same receipt, marked as replayed. Nothing happens twice.", replayed),
        Step("An edit that is refused, with a code and the reason: a submitted version is frozen.", _refused(revise)),
        Step(
            "An edit seen by a subscriber, who then leaves. It begins after the position it names.",
            f'{GET} -N --max-time 4 "$CAIRN/stream?after=$POSITION&type=estimate.line-revised" & '
            f"sleep 1; {_post(edit, '$NEW')}; wait",
        ),
        Step(
            "The same question twice: the second time the answer is 304, not modified.",
            'URL=$CAIRN/projects; TAG=$(curl -s -D - -o /dev/null -H "$A" $URL | tr -d "\\r" | grep -i "^etag:" '
            '| cut -d" " -f2); '
            'curl -s -o /dev/null -w "%{http_code}\\n" -H "$A" -H "If-None-Match: $TAG" $URL',
        ),
        Step("The log itself, as CloudEvents: what every subscriber gets.", f'{GET} "$CAIRN/log?after=0&limit=2"'),
        Step("Who did what, from where: the activity log.", f'{GET} "$CAIRN/activity?limit=3"'),
        Step(
            "From the engineer's estimate to the lowest bid: the steps add up to the difference, to the cent.",
            f'{GET} "$CAIRN/estimates/$ESTIMATE/compare/$BID?lines=3"',
        ),
        Step("Everything about pavement, from the beginnings of words.", f'{GET} "$CAIRN/search?q=bitum+pav&limit=5"'),
    ]


def _started(loaded: Loaded) -> Command:
    of_project = {"project_id": str(loaded.project), "parent_id": str(loaded.estimates[1])}
    return Command("estimate", DRAFT, "start-estimate", of_project | {"currency": "USD", "title": "Tour"})


def _revised(loaded: Loaded, price: str, name: str) -> Command:
    body = {"line_id": str(loaded.rumble_strips), "unit_price": price, "extension": None}
    return Command("estimate", DRAFT, "revise-line", body, uuid5(IDS, name))


def _post(command: Command, id: str) -> str:
    return (
        f"{POST} -H 'Idempotency-Key: {command.command_id}' -d '{_json(command.body)}' "
        f"$CAIRN/commands/{command.aggregate}/{id}/{command.verb}"
    )


def _refused(command: Command) -> str:
    other = Command(command.aggregate, command.id, command.verb, command.body, UUID(int=command.command_id.int ^ 1))
    return _post(other, "$BID")


def _batch(*commands: Command) -> str:
    items = [
        {
            "command_id": str(command.command_id),
            "aggregate": command.aggregate,
            "id": str(command.id),
            "verb": command.verb,
            "body": command.body,
        }
        for command in commands
    ]
    return f"{POST} -d '{_json(items)}' $CAIRN/commands"


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
