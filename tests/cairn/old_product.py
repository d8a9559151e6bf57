"""A small database of an older product, as the files that it can be had in, and the plans that say what is what."""

import csv
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import openpyxl

Table = list[dict[str, Any]]
Database = dict[str, Table]
FORMATS: Final = ("csv", "xlsx", "sqlite", "json", "jsonl")


def database() -> Database:
    """Two companies. Every figure is written so that each format keeps it."""
    return {
        "organizations": [
            {"id": "1", "name": "Northern Paving", "plan": "Pro", "currency": "USD", "expires": "31/12/2027"},
            {"id": "2", "name": "Südbau GmbH", "plan": "Basic", "currency": "EUR", "expires": ""},
        ],
        "users": [
            _user("1", "1", "Ada Winters", "ada@northern.example", "Admin", "yes"),
            _user("2", "1", "Bo Lind", "bo@northern.example", "User", "yes"),
            _user("3", "2", "Jörg Maier", "joerg@suedbau.example", "Admin", "yes"),
            _user("4", "1", "Former Colleague", "gone@northern.example", "User", "no"),
        ],
        "codes": [
            {"org": "1", "set": "MnDOT", "year": "2020", "code": "2104.502", "title": "REMOVE SIGN", "uom": "EACH"},
            {"org": "1", "set": "MnDOT", "year": "2020", "code": "2104.503", "title": "REMOVE PIPE", "uom": "LF"},
        ],
        "rates": [
            _rate("1", "2104.502", "REMOVE SIGN", "EACH", "41.125"),
            _rate("1", "2104.503", "REMOVE PIPE", "LF", "5.72882"),
        ],
        "jobs": [{"id": "7", "org": "1", "name": "TH 108", "city": "Otter Tail"}],
        "bids": [{"id": "70", "job": "7", "org": "1", "ccy": "USD", "title": "Engineer's estimate"}],
        "items": [
            _item("700", code="2104.502", title="REMOVE SIGN", qty="12", uom="EACH", price="41.125"),
            _item("701", code="2104.503", title="REMOVE PIPE", qty="4366", uom="LF", price="5.72882"),
        ],
    }


def _user(id: str, org: str, name: str, mail: str, *rest: str) -> dict[str, Any]:
    role, enabled = rest
    return {"id": id, "org": org, "full_name": name, "mail": mail, "role": role, "enabled": enabled}


def _rate(org: str, code: str, title: str, uom: str, price: str) -> dict[str, Any]:
    return {"org": org, "book": "MnDOT bid prices", "year": "2021", "ccy": "USD", "date": "31/12/2021"} | {
        "code": code,
        "title": title,
        "uom": uom,
        "price": price,
    }


def _item(id: str, **own: str) -> dict[str, Any]:
    return {"id": id, "org": "1", "job": "7", "bid": "70", "section": "Removals", "year": "2020", **own}


PLANNED: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "organizations": (
        "companies",
        {
            "key": "id",
            "name": "name",
            "tier": {"column": "plan", "words": {"Pro": "professional", "basic": "standard"}},
            "tier_expires_on": {"column": "expires", "date_order": "day-first"},
            "currency": "currency",
        },
    ),
    "users": (
        "members",
        {
            "company": "org",
            "key": "id",
            "name": "full_name",
            "email": "mail",
            "role": {"column": "role", "words": {"Admin": "owner", "User": "estimator"}},
            "active": "enabled",
            "time_zone": {"value": "America/Chicago"},
        },
    ),
    "codes": (
        "codes",
        {"company": "org", "code_set": "set", "edition": "year", "code": "code", "description": "title", "unit": "uom"},
    ),
    "rates": (
        "prices",
        {
            "company": "org",
            "book": "book",
            "edition": "year",
            "currency": "ccy",
            "dated_on": {"column": "date", "date_order": "day-first"},
            "code": "code",
            "description": "title",
            "unit": "uom",
            "unit_price": {"column": "price", "decimal_sign": "point"},
        },
    ),
    "jobs": ("projects", {"company": "org", "key": "id", "name": "name", "location": "city"}),
    "bids": ("estimates", {"company": "org", "project": "job", "key": "id", "currency": "ccy", "title": "title"}),
    "items": (
        "lines",
        {
            "company": "org",
            "project": "job",
            "estimate": "bid",
            "key": "id",
            "wbs_1": "section",
            "description": "title",
            "quantity": {"column": "qty", "decimal_sign": "point"},
            "unit": "uom",
            "unit_price": {"column": "price", "decimal_sign": "point"},
            "code": "code",
            "code_set": {"value": "MnDOT"},
            "code_edition": "year",
        },
    ),
}
"""Table → what it is, and its columns."""


CONNECTIONS: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "configs": (
        "connections",
        {
            "company": "org",
            "key": "id",
            "name": "name",
            "upstream.kind": {"value": "http"},
            "upstream.url": "base_url",
            "upstream.paging.by": {"value": "page"},
            "upstream.size": {"column": "page_size", "type": "integer"},
            "upstream.auth.by": {"column": "auth", "words": {"key": "api-key", "none": "nothing"}},
            "secret": "key",
            "cron": "cron",
            "time_zone": "zone",
            "active": "enabled",
        },
    ),
    "fields": (
        "mapping_fields",
        {
            "company": "org",
            "connection": "config",
            "upstream": "theirs",
            "name": "ours",
            "type": {"column": "kind", "words": {"currency": "money", "string": "text", "list": "category"}},
            "feeds": "pfa",
            "unit": "unit",
            "identity": "is_key",
        },
    ),
    "documents": ("mappings", {"company": "org", "connection": "config", "mapping": "body"}),
}
"""As `PLANNED`, for tables of `connections`."""


def connections() -> Database:
    """Two connections of the first company: one mapped field by field, one by a document."""
    mapping = {"fields": [{"upstream": "Item", "name": "item", "type": "text"}], "identity": ["Item"]}
    return {
        "organizations": database()["organizations"],
        "configs": [
            _config("5", name="PEMS", auth="key", key="s3cret-of-pems", cron="30 5 * * 1-5", enabled="yes"),
            _config("6", name="Old PEMS", auth="none", key="", cron="", enabled="no"),
        ],
        "fields": [
            _field("PFA Id", "pfa_id", "string", is_key="yes"),
            _field("Category", "category", "list", pfa="category"),
            _field("Plan", "plan_cost", "currency", pfa="plan_cost", unit="USD"),
        ],
        "documents": [{"org": "1", "config": "6", "body": json.dumps(mapping)}],
    }


def _config(id: str, **own: str) -> dict[str, Any]:
    zone = "America/Chicago" if own["cron"] else ""
    common = {"base_url": "https://pems.northern.example/api", "page_size": "250", "zone": zone}
    return {"id": id, "org": "1", **common, **own}


def _field(theirs: str, ours: str, kind: str, **own: str) -> dict[str, Any]:
    blank = {"pfa": "", "unit": "", "is_key": "no"}
    return {"org": "1", "config": "5", "theirs": theirs, "ours": ours, "kind": kind, **blank, **own}


def planned(tables: Sequence[str] = tuple(PLANNED), **of_plan: Any) -> dict[str, Any]:
    """A plan of these tables, where each is looked for under its own name."""
    known = {**PLANNED, **CONNECTIONS}
    listed = [{"what": known[name][0], "columns": dict(known[name][1]), "table": name} for name in tables]
    return {"source": "old product", "tables": listed, **of_plan}


def written(folder: Path, kind: str, tables: Database, plan: dict[str, Any] | None = None) -> list[Path]:
    """The database in files of this format, and a plan that fits them: plan first, then sources."""
    plan = planned(list(tables)) if plan is None else plan
    paths = _WRITERS[kind](folder, tables)
    for table in plan["tables"]:
        if kind in {"csv", "jsonl"}:
            name = table.pop("table")
            table.setdefault("file", f"{name}.{kind}")
        else:
            table["file"] = paths[0].name
            if kind == "json":
                table["table"] = f"data.{table['table']}"
    file = folder / "plan.json"
    file.write_text(json.dumps(plan), encoding="utf-8")
    return [file, *paths]


def _csv(folder: Path, tables: Database) -> list[Path]:
    for name, rows in tables.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return [folder / f"{name}.csv" for name in tables]


def _xlsx(folder: Path, tables: Database) -> list[Path]:
    book = openpyxl.Workbook(write_only=True)
    for name, rows in tables.items():
        sheet = book.create_sheet(name)
        sheet.append(list(rows[0]))
        for row in rows:
            sheet.append(list(row.values()))
    book.save(folder / "old.xlsx")
    return [folder / "old.xlsx"]


def _sqlite(folder: Path, tables: Database) -> list[Path]:
    path = folder / "old.db"
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        for name, rows in tables.items():
            columns = ", ".join(f'"{column}" text' for column in rows[0])
            connection.execute(f'create table "{name}" ({columns})')
            marks = ", ".join("?" for _ in rows[0])
            connection.executemany(f'insert into "{name}" values ({marks})', [tuple(row.values()) for row in rows])
        connection.commit()
    return [path]


def _json(folder: Path, tables: Database) -> list[Path]:
    (folder / "old.json").write_text(json.dumps({"version": 3, "data": tables}), encoding="utf-8")
    return [folder / "old.json"]


def _jsonl(folder: Path, tables: Database) -> list[Path]:
    for name, rows in tables.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return [folder / f"{name}.jsonl" for name in tables]


_WRITERS: Final[Mapping[str, Callable[[Path, Database], list[Path]]]] = {
    "csv": _csv,
    "xlsx": _xlsx,
    "sqlite": _sqlite,
    "json": _json,
    "jsonl": _jsonl,
}
