"""Random commands, written as JSON the way a client sends them; few ids, so that commands meet each other."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from domain.decider import Command, Ref
from domain.drafts_events import drafts_of
from domain.mirror_events import mirror_of
from domain.pfa_values import EDITABLE
from domain.registry import COMMANDS
from domain.units import CANONICAL
from tests.specs import SOMEBODY

IDS = [UUID(int=(0x0197B2A4 << 96) | (7 << 76) | (8 << 60) | n) for n in range(1, 13)]
LINE_IDS, PROJECT_IDS, ESTIMATE_IDS = IDS[:5], IDS[5:7], IDS[7:11]
RISK_IDS = IDS[:3]
ACTUALS_IDS = [UUID(int=each.int + (1 << 32)) for each in IDS[:2]]
CONNECTION_IDS = [UUID(int=each.int + (3 << 32)) for each in IDS[:2]]
RUN_IDS = IDS[:3]

DRAFTS_IDS = [drafts_of(SOMEBODY, each) for each in CONNECTION_IDS]
CHANGESET_IDS = [UUID(int=each.int + (4 << 32)) for each in IDS[:2]]
BOOK_IDS = [UUID(int=each.int + (2 << 32)) for each in IDS[:3]]

Step = tuple[Ref, Command]


def decimals(places: int = 6, whole: int = 9) -> SearchStrategy[str]:
    """Decimals as JSON strings, sometimes tiny, sometimes with trailing zeros."""
    scaled = st.integers(-(10 ** (whole + places)) + 1, 10 ** (whole + places) - 1) | st.integers(-200, 200)
    return st.builds(lambda n, p: format(Decimal(n).scaleb(-p), "f"), scaled, st.integers(0, places)).filter(
        lambda text: len(text.lstrip("-").partition(".")[0]) <= whole
    )


def text(longest: int = 12) -> SearchStrategy[str]:
    """One line, not blank, of any script."""
    anything = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=longest)
    return anything.filter(lambda value: not value.isspace())


margins = st.integers(-1_000_000, 999_999).map(lambda n: format(Decimal(n).scaleb(-6), "f"))
fractions = st.integers(0, 1_000_000).map(lambda n: format(Decimal(n).scaleb(-6), "f"))
units = st.sampled_from(["LS", "EACH", "C Y", "cy", "SY", "L F"]) | st.sampled_from(sorted(CANONICAL))
nullable_text = st.none() | text()

_line_details: dict[str, SearchStrategy[Any]] = {
    "description": text(),
    "quantity": st.just("1") | decimals(),
    "unit": units,
    "unit_price": decimals(6, 6),
    "extension": st.none() | decimals(2, 9),
    "code": nullable_text,
    "code_set": nullable_text,
    "code_edition": nullable_text,
    "cost_type": st.sampled_from(["labour", "material", "equipment", "subcontract", "other"]),
    "note": st.none() | st.text(st.characters(exclude_categories=("Cc", "Cs"), include_characters="\n\t"), max_size=9),
    "quote_reference": nullable_text,
    "firmness": st.sampled_from(["firm", "plug"]),
    "pricing": st.sampled_from(["base", "base", "allowance", "alternate"]),
}
_required = ("description", "quantity", "unit", "unit_price")
days = st.dates().map(str)
conversions: SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "currency": st.sampled_from(["CAD", "CAD", "EUR", "USD"]),
        "unit_price": decimals(6, 5),
        "rate": st.integers(1, 10**7).map(lambda n: format(Decimal(n).scaleb(-4), "f")),
        "rated_on": days,
    },
    optional={"source": nullable_text},
)
wbs_paths = st.lists(text(6), min_size=1, max_size=3)


def _one_price(body: dict[str, Any]) -> dict[str, Any]:
    if body.get("conversion") is not None:
        body.pop("unit_price", None)
    return body


def line_bodies(ids: SearchStrategy[str] | None = None) -> SearchStrategy[dict[str, Any]]:
    """Lines as AddLine and ImportLines take them, some with a conversion in place of a unit price."""
    bodies: SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
        {
            "line_id": _one_of(LINE_IDS) if ids is None else ids,
            "wbs_path": wbs_paths,
            **{n: _line_details[n] for n in _required},
        },
        optional={n: how for n, how in _line_details.items() if n not in _required}
        | {"currency": st.sampled_from(["USD", "USD", "EUR"]), "conversion": st.none() | conversions},
    )
    return bodies.map(_one_price)


def impacts(kind: str, *names: str) -> SearchStrategy[dict[str, Any]]:
    """Low, likely and high in order, of the sign that the kind of risk asks for."""
    least, most = {"threat": (0, 10**9), "opportunity": (-(10**9), 0)}.get(kind, (-(10**9), 10**9))
    three = st.lists(st.integers(least, most), min_size=3, max_size=3).map(sorted)
    return st.tuples(three, st.booleans()).map(
        lambda drawn: {
            name: None if name.endswith("likely") and drawn[1] else format(Decimal(cents).scaleb(-2), "f")
            for name, cents in zip(names, drawn[0], strict=True)
        }
    )


def responses(kind: str) -> SearchStrategy[dict[str, Any]]:
    """What is done about a risk of a kind."""
    fixed: SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["avoid", "mitigate", "transfer", "accept"]),
            "cost": st.integers(0, 10**8).map(lambda n: format(Decimal(n).scaleb(-2), "f")),
            "residual_probability": fractions,
        },
        optional={"strategy": nullable_text},
    )
    left = impacts(kind, "residual_low", "residual_likely", "residual_high")
    return st.tuples(fixed, left).map(lambda both: both[0] | both[1])


_risk_details: dict[str, SearchStrategy[Any]] = {
    "title": text(),
    "probability": fractions,
    "category": nullable_text,
    "cause": nullable_text,
    "event": nullable_text,
    "consequence": nullable_text,
    "schedule_days": st.none() | st.integers(-100, 100),
    "owner": nullable_text,
    "review_on": st.none() | days,
}
_risk_kinds = st.sampled_from(["threat", "threat", "opportunity", "uncertainty"])


def risk_bodies() -> SearchStrategy[dict[str, Any]]:
    """Risks as AddRisk takes them."""

    def of_kind(kind: str) -> SearchStrategy[dict[str, Any]]:
        fixed: SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
            {
                "risk_id": _one_of(RISK_IDS),
                "kind": st.just(kind),
                "title": _risk_details["title"],
                "probability": fractions,
            },
            optional={name: how for name, how in _risk_details.items() if name not in {"title", "probability"}}
            | {"response": st.none() | responses(kind)},
        )
        return st.tuples(fixed, impacts(kind, "low", "likely", "high")).map(lambda both: both[0] | both[1])

    return _risk_kinds.flatmap(of_kind)


def _markup(kind: str) -> SearchStrategy[dict[str, Any]]:
    if kind == "risk":
        return st.just({"kind": "risk"})
    rates = st.integers(-900_000, 2_000_000).map(lambda n: format(Decimal(n).scaleb(-6), "f"))
    figures: SearchStrategy[dict[str, Any]] = st.one_of(
        rates.map(lambda rate: {"rate": rate}),
        decimals(2, 9).map(lambda amount: {"amount": amount}),
        st.tuples(fractions, st.integers(0, 120)).map(
            lambda both: {"escalation": {"annual_rate": both[0], "months_to_midpoint": str(both[1])}}
        ),
    )
    step: SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
        {"kind": st.just(kind), "name": text(), "on": st.sampled_from(["direct", "running"])}
    )
    return st.tuples(step, figures).map(lambda both: both[0] | both[1])


def _with_ids(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        step if step["kind"] == "risk" else {**step, "markup_id": str(IDS[number])}
        for number, step in enumerate(steps)
        if step["kind"] != "risk" or step not in steps[:number]
    ]


_markup_kinds = st.sampled_from(["indirect", "contingency", "escalation", "overhead", "profit", "other", "risk"])
markup_lists: SearchStrategy[list[dict[str, Any]]] = (
    st.lists(_markup_kinds.flatmap(_markup), max_size=4)
    .map(_with_ids)
    .filter(lambda steps: sum(_is_steep(step) for step in steps) < 2)
)
"""Mark-ups as SetMarkups takes them."""


def _is_steep(step: dict[str, Any]) -> bool:
    return "escalation" in step and Decimal(step["escalation"]["annual_rate"]) > Decimal("0.5")


def _one_of(ids: list[UUID]) -> SearchStrategy[str]:
    return st.sampled_from(ids).map(str)


def _some(fixed: dict[str, SearchStrategy[Any]], **changes: SearchStrategy[Any]) -> SearchStrategy[dict[str, Any]]:
    """The fixed fields, and at least one of the others."""
    bodies: SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(fixed, optional=changes)
    return bodies.filter(lambda body: len(body) > len(fixed))


def _with(**fields: SearchStrategy[Any]) -> SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(fields)


_risk = {"risk_id": _one_of(RISK_IDS)}
_tag = st.sampled_from(["bid", "before addendum 2"])
_simulation = {"simulation_id": _one_of(IDS[:2])}
_figures = _with(
    mean=decimals(2, 18),
    standard_deviation=st.just("12.34"),
    curve=st.integers(-(10**15), 10**15).map(
        lambda cents: [format(Decimal(cents + p).scaleb(-2), "f") for p in range(101)]
    ),
    method_version=st.integers(1, 2),
    bit_generator=text(),
    numpy_version=text(),
)
_estimate_statuses = st.sampled_from(["draft", "in-review", "submitted", "awarded", "lost", "archived"])
_line = {"line_id": _one_of(LINE_IDS)}
_statuses = st.sampled_from(["active", "on-hold", "awarded", "lost", "completed", "archived"])
_metadata = st.dictionaries(st.sampled_from(["contract", "county", "owner"]), text(), max_size=3)
_expiry = st.none() | st.dates().map(str)
_token = {"token_id": _one_of(LINE_IDS)}
_roles = st.sampled_from(["owner", "estimator", "viewer", "auditor", "service"])

_days = st.dates(date(2020, 1, 1), date(2020, 1, 9)).map(str)
_entry = {"entry_id": _one_of(LINE_IDS)}
_finding = {"finding_id": _one_of(LINE_IDS)}
_codes: dict[str, SearchStrategy[Any]] = {
    "code": st.sampled_from([None, "A", "B"]),
    "code_set": st.sampled_from([None, "MnDOT"]),
    "code_edition": st.sampled_from([None, "2018", "2020"]),
}
_measured = st.sampled_from([{}, {"quantity": None, "unit": None}]) | st.fixed_dictionaries(
    {"quantity": decimals(), "unit": st.sampled_from(["C Y", "SY"])}
)
_few = st.sampled_from(["A", "B", "C"])
_edition = st.sampled_from(["2018", "2020"])
_cost = {"amount": decimals(2, 9), "booked_on": _days}
_cost_details = _codes | {"cost_type": _line_details["cost_type"], "note": _line_details["note"]}
_against_markup = _with(markup_id=_one_of(LINE_IDS[:2]), code=st.none(), code_set=st.none(), code_edition=st.none())
_scopes = (
    st.none()
    | st.fixed_dictionaries({}, optional=_codes)
    | st.just({"kind": "risk"})
    | _with(kind=st.just("markup"), markup_id=_one_of(LINE_IDS))
)


def _both(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return one | other


def entry_bodies() -> SearchStrategy[dict[str, Any]]:
    """Cost entries as RecordCosts takes them."""
    details = _cost_details | {"currency": st.sampled_from(["USD", "USD", "USD", "EUR"])}
    bodies = st.fixed_dictionaries(_entry | _cost, optional=details)
    return st.builds(_both, bodies | st.builds(_both, bodies, _against_markup), _measured)


_corrections = st.builds(
    _both,
    st.fixed_dictionaries({**_entry, "reason": text()}, optional=_cost | _cost_details),
    _measured | _with(quantity=decimals()) | _against_markup | _with(markup_id=st.none() | _one_of(LINE_IDS[:2])),
).filter(lambda body: len(body) > 2)

_http = {
    "kind": st.just("http"),
    "url": st.sampled_from(["https://erp.northern.example", "https://erp.northern.example/v2", "http://10.0.0.7"]),
    "paging": st.just({"by": "cursor"}),
    "auth": st.sampled_from([{"by": "api-key"}, {"by": "basic"}]),
}
_upstreams = st.fixed_dictionaries(_http) | st.just({"kind": "folder", "folder": "exports"})
_credentials = {"username": st.sampled_from(["", "cairn"]), "secret": text()}
_money = {"upstream": "Budget", "name": "plan_cost", "type": "money", "feeds": "plan_cost"}
_mappings = st.fixed_dictionaries(
    {
        "fields": st.sampled_from([["USD"], ["USD"], ["EUR"], ["USD", "EUR"], []]).map(
            lambda units: [
                {"upstream": "Trade", "name": "category", "type": "category", "feeds": "category"},
                *(
                    _money | {"unit": unit, "name": name, "feeds": name}
                    for unit, name in zip(units, ["plan_cost", "actual_cost"], strict=False)
                ),
            ]
        ),
        "identity": st.sampled_from([["Item"], ["Item"], ["Item", "Site"]]),
    }
)
_schedules = st.fixed_dictionaries(
    {"cron": st.sampled_from(["30 5 * * 1-5", "*/10 * * * *"]), "time_zone": st.just("America/Chicago")},
    optional={"enabled": st.booleans(), "jitter_seconds": st.integers(0, 3600), "full_every": st.integers(1, 1000)},
)
_run = {"run_id": _one_of(RUN_IDS)}
_modes = st.sampled_from(["full", "incremental"])
_attempt = _run | {"connection_id": _one_of(CONNECTION_IDS[:1]), "attempt": st.sampled_from([1, 1, 2])}
_moments = st.integers(0, 9).map(lambda second: f"2026-11-21T05:30:0{second}Z")
_counts = st.dictionaries(st.sampled_from(["processed", "inserted", "unchanged"]), st.integers(0, 9))
_record = st.fixed_dictionaries(
    {
        "record_id": _one_of(LINE_IDS),
        "identity": st.lists(text(), min_size=1, max_size=2),
        "digest": st.integers(0, 3).map(lambda n: f"{n:032x}"),
        "values": st.fixed_dictionaries({}, optional={"category": text(), "plan_cost": decimals(2, 9)}),
    }
)
_records = st.lists(_record, max_size=2, unique_by=lambda record: str(record["record_id"]))

_wishes: dict[str, SearchStrategy[Any]] = {
    **dict.fromkeys(("category", "source", "record_class", "area", "description"), st.sampled_from([None, "A", "B"])),
    **dict.fromkeys(("monthly_rate", "purchase_price"), st.sampled_from([None, "1.00", "8750.00"])),
    "forecast_cost": st.sampled_from([None, "1.00", "61250.00", "computed"]),
    **dict.fromkeys(("forecast_start", "forecast_end"), st.sampled_from([None, "2026-03-01", "2026-09-30"])),
    "is_discontinued": st.sampled_from([None, True, False]),
}
assert set(_wishes) == set(EDITABLE)
draft_fields = st.fixed_dictionaries({}, optional=_wishes).filter(bool)
"""Fields as SaveDrafts and DraftMany take them."""
_drafted = {"connection_id": _one_of(CONNECTION_IDS[:1])}
_seen = {"position": st.none() | st.integers(0, 9)}
_batches = _one_of(IDS[:3])
_answers = st.dictionaries(_one_of(LINE_IDS), st.sampled_from(["confirmed", "refused", "moved"]), max_size=3).map(
    lambda answers: {
        "confirmed": [each for each, what in answers.items() if what == "confirmed"],
        "refused": [{"record_id": each, "code": "closed"} for each, what in answers.items() if what == "refused"],
        "moved": [{"record_id": each} for each, what in answers.items() if what == "moved"],
    }
)

BODIES: dict[tuple[str, str], SearchStrategy[dict[str, Any]]] = {
    ("company", "register-company"): st.fixed_dictionaries(
        {"name": text(), "tier": text(), "currency": st.sampled_from(["USD", "EUR"])},
        optional={"tier_expires_on": _expiry, "variance_threshold": fractions},
    ),
    ("company", "rename-company"): _with(name=text()),
    ("company", "change-settings"): _some(
        {},
        rounding=st.just("half-up"),
        month_rule=st.sampled_from(["days-28", "anniversary"]),
        variance_threshold=fractions,
        conflict_rule=st.sampled_from(["field", "record"]),
    ),
    ("company", "change-tier"): _with(tier=text(), tier_expires_on=_expiry),
    ("membership", "add-member"): _with(name=text(), email=st.just("ada@northern.example"), role=_roles),
    ("membership", "change-role"): _with(role=_roles),
    ("membership", "change-preferences"): _some(
        {},
        time_zone=st.none() | st.sampled_from(["UTC", "America/Chicago"]),
        language=st.none() | st.sampled_from(["en-US", "de"]),
        date_format=st.none() | st.just("DD.MM.YYYY"),
    ),
    ("membership", "remove-member"): _with(),
    ("membership", "forget-member"): _with(
        reason=st.sampled_from(["requested", "consent-withdrawn", "no-longer-needed", "unlawful"])
    ),
    ("membership", "issue-token"): st.fixed_dictionaries(
        {
            **_token,
            "secret_hash": st.integers(0, 3).map(lambda n: f"{n:064x}"),
            "label": text(),
            "expires_at": st.datetimes(datetime(2000, 1, 2), datetime(2999, 1, 1)).map(
                lambda at: f"{at.isoformat()}+02:00"
            ),
        }
    ),
    ("membership", "revoke-token"): st.fixed_dictionaries(_token),
    ("project", "create-project"): st.fixed_dictionaries(
        {"name": text()},
        optional={
            "status": _statuses,
            "building_type": nullable_text,
            "location": nullable_text,
            "metadata": _metadata,
        },
    ),
    ("project", "rename-project"): _with(name=text()),
    ("project", "change-status"): _with(status=_statuses),
    ("project", "change-metadata"): _some(
        {},
        building_type=nullable_text,
        location=nullable_text,
        metadata=st.dictionaries(st.sampled_from(["contract", "county"]), nullable_text, max_size=2),
    ),
    ("project", "delete-project"): st.fixed_dictionaries({}, optional={"reason": nullable_text}),
    ("project", "restore-project"): st.fixed_dictionaries({}, optional={"name": nullable_text}),
    ("estimate", "start-estimate"): st.fixed_dictionaries(
        {"project_id": _one_of(PROJECT_IDS), "currency": st.sampled_from(["USD", "USD", "USD", "EUR"])},
        optional={
            "parent_id": st.none() | _one_of(ESTIMATE_IDS),
            "target_margin": st.none() | margins,
            "title": nullable_text,
            "notes": nullable_text,
            "effective_on": st.none() | days,
            "aace_class": st.none() | st.integers(1, 5),
            "basis": nullable_text,
        },
    ),
    ("estimate", "add-line"): line_bodies(),
    ("estimate", "revise-line"): _some(_line, **_line_details, conversion=st.none() | conversions).map(_one_price),
    ("estimate", "move-line"): _some(_line, wbs_path=wbs_paths, after_line_id=st.none() | _one_of(LINE_IDS)),
    ("estimate", "remove-line"): st.fixed_dictionaries(_line),
    ("estimate", "import-lines"): _with(lines=st.lists(line_bodies(), min_size=1, max_size=4)),
    ("estimate", "change-margin"): _with(target_margin=margins),
    ("estimate", "change-notes"): _some({}, title=nullable_text, notes=nullable_text),
    ("estimate", "set-markups"): _with(markups=markup_lists),
    ("estimate", "add-risk"): risk_bodies(),
    ("estimate", "revise-risk"): _risk_kinds.flatmap(
        lambda kind: st.tuples(
            _some(_risk, **_risk_details, response=st.none() | responses(kind)),
            st.just({}) | impacts(kind, "low", "likely", "high").map(lambda three: three | {"kind": kind}),
        )
    ).map(lambda both: both[0] | both[1]),
    ("estimate", "apply-mitigation"): _with(**_risk, applied_on=days),
    ("estimate", "withdraw-mitigation"): _with(**_risk, reason=text()),
    ("estimate", "close-risk"): _with(**_risk, closed_on=days, reason=text()),
    ("estimate", "reopen-risk"): _with(**_risk, reason=text()),
    ("estimate", "remove-risk"): _with(**_risk),
    ("estimate", "classify"): st.fixed_dictionaries(
        {"aace_class": st.integers(1, 5), "basis": text()}, optional={"reason": nullable_text}
    ),
    ("estimate", "tag-version"): _with(tag=_tag),
    ("estimate", "untag-version"): _with(tag=_tag),
    ("estimate", "change-estimate-status"): st.fixed_dictionaries(
        {"status": _estimate_statuses}, optional={"reason": nullable_text}
    ),
    ("estimate", "undo-change"): _with(stream_version=st.integers(1, 30)),
    ("estimate", "submit-estimate"): _with(),
    ("estimate", "request-simulation"): _with(
        **_simulation, trials=st.integers(1_000, 10_000_000), seed=st.sampled_from([0, 2**63 - 1])
    ),
    ("estimate", "record-simulation"): _with(**_simulation, figures=_figures),
    ("estimate", "fail-simulation"): _with(**_simulation, reason=text()),
    ("codeset", "register-code-set"): st.fixed_dictionaries(
        {"code_set": st.just("MnDOT"), "edition": _edition},
        optional={"source": nullable_text},
    ),
    ("codeset", "import-codes"): _with(
        codes=st.lists(
            st.fixed_dictionaries({"code": _few, "description": text()}, optional={"unit": st.none() | units}),
            min_size=1,
            max_size=4,
        )
    ),
    ("pricebook", "open-price-book"): st.fixed_dictionaries(
        {"name": text(), "edition": _edition, "currency": st.sampled_from(["USD", "EUR"]), "dated_on": _days},
        optional={"source": nullable_text},
    ),
    ("pricebook", "import-prices"): _with(
        prices=st.lists(
            st.fixed_dictionaries(
                {"code": _few, "description": text(), "unit": units, "unit_price": decimals(6, 6)},
                optional={"cost_type": _line_details["cost_type"], "category": nullable_text},
            ),
            min_size=1,
            max_size=4,
        )
    ),
    ("actuals", "open-actuals"): _with(project_id=_one_of(PROJECT_IDS), baseline_id=_one_of(ESTIMATE_IDS[:3])),
    ("actuals", "change-baseline"): _with(baseline_id=_one_of(ESTIMATE_IDS[:3]), reason=text()),
    ("actuals", "record-costs"): _with(entries=st.lists(entry_bodies(), min_size=1, max_size=5)),
    ("actuals", "correct-cost"): _corrections,
    ("actuals", "remove-cost"): _with(**_entry, reason=text()),
    ("actuals", "record-risk-occurrence"): _with(
        estimate_id=_one_of(ESTIMATE_IDS[:3]), risk_id=_one_of(RISK_IDS), cost=decimals(2, 9), occurred_on=_days
    ),
    ("actuals", "correct-risk-cost"): _some(
        {"estimate_id": _one_of(ESTIMATE_IDS), "risk_id": _one_of(RISK_IDS), "reason": text()},
        cost=decimals(2, 9) | st.just("0"),
        occurred_on=_days,
        note=nullable_text,
    ),
    ("actuals", "set-duration"): st.fixed_dictionaries(
        {"days": st.none() | st.integers(0, 36_500)},
        optional={"scope": st.none() | st.fixed_dictionaries({}, optional=_codes), "reason": nullable_text},
    ),
    ("actuals", "add-finding"): st.fixed_dictionaries(
        {**_finding, "kind": st.sampled_from(["issue", "lesson"]), "text": text()}, optional=_codes
    ),
    ("actuals", "revise-finding"): _some(_finding, kind=st.sampled_from(["issue", "lesson"]), text=text(), **_codes),
    ("actuals", "remove-finding"): _with(**_finding),
    ("actuals", "explain-variance"): st.fixed_dictionaries(
        {"narrative": text()}, optional={"scope": _scopes, "cause": nullable_text, "owner": nullable_text}
    ),
    ("actuals", "finish-actuals"): _with(finished_on=_days),
    ("actuals", "reopen-actuals"): _with(reason=text()),
    ("connection", "open-connection"): st.fixed_dictionaries(
        {"name": text(), "upstream": _upstreams}, optional={"credentials": st.none() | _with(**_credentials)}
    ),
    ("connection", "revise-connection"): _some({}, name=text(), upstream=_upstreams),
    ("connection", "replace-credentials"): _with(**_credentials),
    ("connection", "set-mapping"): _with(mapping=_mappings),
    ("connection", "set-schedule"): _with(schedule=st.none() | _schedules),
    ("connection", "disable-connection"): _with(reason=text()),
    ("connection", "enable-connection"): _with(),
    ("connection", "close-connection"): _with(reason=text()),
    ("mirror", "request-sync"): st.fixed_dictionaries(
        {**_run, "connection_id": _one_of(CONNECTION_IDS[:1])}, optional={"mode": _modes}
    ),
    ("mirror", "begin-sync"): _with(
        **_attempt,
        mode=_modes,
        trigger=st.sampled_from(["manual", "schedule", "retry"]),
        mapping_version=st.sampled_from([1, 1, 1, 2]),
        began_at=_moments,
    ),
    ("mirror", "record-changes"): _with(
        **_attempt,
        mapping_version=st.sampled_from([1, 1, 1, 2]),
        currency=st.just("USD"),
        changes=st.fixed_dictionaries({}, optional={"inserted": _records}),
        processed=st.integers(0, 9),
    ),
    ("mirror", "finish-sync"): _with(
        **_attempt, counts=_counts, finished_at=_moments, cursor=st.none() | st.just("17")
    ),
    ("mirror", "fail-sync"): _with(
        **_attempt,
        failure=st.sampled_from(["unavailable", "denied", "broken", "held"]),
        code=st.just("upstream.broken"),
        facts=st.dictionaries(text(), st.integers(0, 9), max_size=1),
        counts=_counts,
        finished_at=_moments,
    ),
    ("mirror", "cancel-sync"): _with(**_run, reason=text()),
    ("drafts", "save-drafts"): st.fixed_dictionaries(
        {
            **_drafted,
            "drafts": st.lists(
                st.fixed_dictionaries({"record_id": _one_of(LINE_IDS), "fields": draft_fields}), min_size=1, max_size=3
            ),
        },
        optional=_seen,
    ),
    ("drafts", "draft-many"): st.fixed_dictionaries(
        {**_drafted, "filter": st.just({}), "fields": draft_fields, "expected": st.integers(0, 5)}, optional=_seen
    ),
    ("drafts", "discard-drafts"): _with(**_drafted, all=st.just(True))
    | _with(
        **_drafted,
        records=st.lists(
            st.fixed_dictionaries(
                {"record_id": _one_of(LINE_IDS)},
                optional={"fields": st.none() | st.lists(st.sampled_from(EDITABLE), min_size=1, max_size=2)},
            ),
            min_size=1,
            max_size=2,
        ),
    ),
    ("drafts", "restore-drafts"): _with(**_drafted, stream_version=st.integers(1, 12)),
    ("changeset", "open-changeset"): st.fixed_dictionaries(
        {**_drafted, "drafts_id": _one_of(DRAFTS_IDS[:1])},
        optional={"records": st.none() | st.lists(_one_of(LINE_IDS), min_size=1, max_size=2), "note": nullable_text},
    ),
    ("changeset", "settle-conflicts"): _with(
        settlements=st.lists(
            _with(record_id=_one_of(LINE_IDS), how=st.sampled_from(["mine", "theirs"]))
            | _with(record_id=_one_of(LINE_IDS), how=st.just("value"), values=st.just({"forecast_cost": "5.00"})),
            min_size=1,
            max_size=3,
        )
    ),
    ("changeset", "cancel-changeset"): st.fixed_dictionaries({}, optional={"reason": nullable_text}),
    ("changeset", "begin-push"): _with(
        batch_id=_batches, record_ids=st.lists(_one_of(LINE_IDS), min_size=1, max_size=3)
    ),
    ("changeset", "delay-push"): _with(code=st.sampled_from(["upstream.unreachable", "upstream.failing"])),
    ("changeset", "record-answers"): st.builds(
        _both, _with(batch_id=_batches, mapping_version=st.just(1), changes=st.just({})), _answers
    ),
}
"""(category, verb) → bodies the command accepts. Every command is here: a test says so."""

_STREAMS = {
    "company": IDS[11:],
    "membership": IDS[11:],
    "project": PROJECT_IDS,
    "estimate": ESTIMATE_IDS[:3],
    "actuals": ACTUALS_IDS,
    "codeset": BOOK_IDS[:2],
    "pricebook": BOOK_IDS[2:],
    "connection": CONNECTION_IDS,
    "mirror": [mirror_of(CONNECTION_IDS[0])],
    "drafts": DRAFTS_IDS[:1],
    "changeset": CHANGESET_IDS,
}


def commands(category: str, verb: str) -> SearchStrategy[Command]:
    """One kind of command, read from JSON as the API reads it."""
    _, kind = COMMANDS[category, verb]
    return BODIES[category, verb].map(lambda body: kind.model_validate_json(msgspec.json.encode(body)))


def steps(*categories: str) -> SearchStrategy[Step]:
    """A command of these aggregates, and the stream it is for."""
    return st.one_of([_step(category, verb) for category, verb in BODIES if category in categories])


def _step(category: str, verb: str) -> SearchStrategy[Step]:
    refs = st.sampled_from([Ref(category, id) for id in _STREAMS[category]])
    return st.tuples(refs, commands(category, verb))


def scripts(*categories: str, longest: int = 25) -> SearchStrategy[list[Step]]:
    """Commands one after the other."""
    return st.lists(steps(*categories), max_size=longest)
