"""What can be imported: each kind of thing with the fields that a column may be."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from domain.pfa import FieldType

TEXT, INTEGER, DECIMAL = FieldType.TEXT, FieldType.INTEGER, FieldType.DECIMAL
DATE, BOOLEAN = FieldType.DATE, FieldType.BOOLEAN


class Field(NamedTuple):
    """A field of ours: how its cells are read, whether a row must have it, what it is, and what others call it."""

    type: FieldType
    required: bool
    meaning: str
    also: tuple[str, ...] = ()
    document: bool = False
    """A JSON object, as one or as its text."""


class Kind(NamedTuple):
    """A kind of thing. `key` are the fields that tell two of a company apart: ids here follow from them, and from the
    name of the source.
    """

    key: tuple[str, ...]
    fields: Mapping[str, Field]
    also: tuple[str, ...] = ()
    within: str | None = None
    """A field that is a document: `upstream.url` is then a field too, and so is every other place within it."""

    def field(self, name: str, type: FieldType = TEXT) -> Field | None:
        """The field of this name; a place within the document is of the type that the plan says."""
        if self.within is not None and name.startswith(f"{self.within}."):
            return Field(type, False, f"A part of {self.within}.")
        return self.fields.get(name)


def _text(meaning: str, *also: str, required: bool = False) -> Field:
    return Field(TEXT, required, meaning, also)


COMPANY: Final = "company"
_COMPANY: Final = _text(
    "The key of its company in this source.", "organisation", "organization", "org", "tenant", required=True
)
_KEY: Final = _text("The source's own id of it, which never changes.", "id", "uuid", "guid", "pk", required=True)
_CODE: Final = _text("The cost code.", "item", "number", "account", required=True)
_UNIT: Final = _text("A unit of the controlled list, or another spelling of one.", "uom", "measure")

KINDS: Final[Mapping[str, Kind]] = {
    "companies": Kind(
        key=("key",),
        fields={
            "key": _KEY,
            "name": _text("The company's name.", "title", "organisation", "organization", required=True),
            "tier": _text("Subscription tier.", "plan", "subscription", required=True),
            "tier_expires_on": Field(DATE, False, "Last day of the subscription.", ("expires", "valid until")),
            "currency": _text("ISO 4217 code.", "ccy", required=True),
            "month_rule": _text("What a month of rental is.", "rental rule"),
        },
        also=("organisations", "organizations", "orgs", "tenants", "customers"),
    ),
    "members": Kind(
        key=(COMPANY, "key"),
        fields={
            COMPANY: _COMPANY,
            "key": _KEY,
            "name": _text("The member's name.", "full name", "display name", "username", required=True),
            "email": _text("Address, unique within the company.", "mail", "e-mail", "email address", required=True),
            "role": _text("What the member may do.", "user role", "type", "permission", required=True),
            "time_zone": _text("IANA name of the member's time zone.", "timezone", "tz"),
            "language": _text("Language tag, such as en-US.", "locale", "lang"),
            "active": Field(BOOLEAN, False, "False: not added, and removed if there.", ("enabled", "is active")),
        },
        also=("users", "people", "accounts", "persons"),
    ),
    "connections": Kind(
        key=(COMPANY, "key"),
        fields={
            COMPANY: _COMPANY,
            "key": _KEY,
            "name": _text("What people call it.", "title", required=True),
            "upstream": Field(TEXT, False, "Its kind and how it is reached.", ("config", "configuration"), True),
            "username": _text("Whom the upstream knows.", "user", "login"),
            "secret": _text("Password, key or client secret.", "password", "api key", "token"),
            "cron": _text("When it is synced: minute, hour, day, month, weekday.", "schedule"),
            "time_zone": _text("The zone that is meant in, by its IANA name.", "timezone", "tz"),
            "active": Field(BOOLEAN, False, "False: disabled.", ("enabled", "is active")),
        },
        also=("configurations", "api configurations", "api configs", "integrations", "upstreams"),
        within="upstream",
    ),
    "mappings": Kind(
        key=(COMPANY, "connection"),
        fields={
            COMPANY: _COMPANY,
            "connection": _text("The key of its connection in this source.", "connection id", required=True),
            "mapping": Field(TEXT, True, "All of it: fields and identity.", ("document", "json"), True),
        },
        also=("field mapping documents",),
    ),
    "mapping_fields": Kind(
        key=(COMPANY, "connection", "name"),
        fields={
            COMPANY: _COMPANY,
            "connection": _text("The key of its connection in this source.", "config", "config id", required=True),
            "upstream": _text("The column's name there.", "source field", "source", "external", required=True),
            "name": _text("Its name here.", "target field", "target", "internal", required=True),
            "type": _text("text, category, integer, decimal, money, date or boolean.", "data type", required=True),
            "feeds": _text("The PFA field that it is.", "pfa field"),
            "unit": _text("The currency of money; the unit of a quantity.", "currency"),
            "date_order": _text("iso, day-first or month-first.", "date format"),
            "decimal_sign": _text("point or comma."),
            "identity": Field(BOOLEAN, False, "Whether it is one of those that identify a record.", ("is key",)),
        },
        also=("field mappings", "api field mappings", "column mappings"),
    ),
    "projects": Kind(
        key=(COMPANY, "key"),
        fields={
            COMPANY: _COMPANY,
            "key": _KEY,
            "name": _text("Unique among the company's live projects.", "title", required=True),
            "status": _text("Where the project stands.", "state"),
            "building_type": _text("What is built.", "type"),
            "location": _text("Where.", "city", "site", "address"),
        },
        also=("jobs",),
    ),
    "estimates": Kind(
        key=(COMPANY, "project", "key"),
        fields={
            COMPANY: _COMPANY,
            "project": _text("The key of its project in this source.", "project id", required=True),
            "key": _KEY,
            "currency": _text("ISO 4217 code; the company's.", "ccy", required=True),
            "title": _text("What it is called.", "name"),
            "notes": _text("Why this version.", "comment", "remarks"),
            "effective_on": Field(DATE, False, "The business date its prices are of.", ("date", "estimate date")),
        },
        also=("bids", "budgets"),
    ),
    "lines": Kind(
        key=(COMPANY, "project", "estimate", "key"),
        fields={
            COMPANY: _COMPANY,
            "project": _text("The key of the estimate's project in this source.", "project id", required=True),
            "estimate": _text("The key of its estimate in this source.", "estimate id", required=True),
            "key": _KEY,
            "wbs_1": _text("Work breakdown: the whole.", "section", "wbs", required=True),
            "wbs_2": _text("Work breakdown: a part of it.", "subsection"),
            "wbs_3": _text("Work breakdown: a part of that."),
            "description": _text("What the line is for.", "name", "text", required=True),
            "quantity": Field(DECIMAL, True, "How much; 1 for a lump sum.", ("qty", "amount")),
            "unit": _UNIT._replace(required=True),
            "unit_price": Field(DECIMAL, True, "Price of one unit.", ("price", "rate", "unit cost")),
            "extension": Field(DECIMAL, False, "A submitted amount, never derived again.", ("total", "line total")),
            "code": _CODE._replace(required=False),
            "code_set": _text("The set the code is from."),
            "code_edition": _text("The edition of that set."),
            "cost_type": _text("labour, material, equipment, subcontract or other.", "category"),
            "note": _text("Basis or remark.", "comment", "remarks"),
        },
        also=("estimate lines", "line items", "items"),
    ),
    "codes": Kind(
        key=(COMPANY, "code_set", "edition", "code"),
        fields={
            COMPANY: _COMPANY,
            "code_set": _text("The set, as lines name it.", "set", required=True),
            "edition": _text("The edition, as lines name it.", "year", "version", required=True),
            "source": _text("Where the set is from."),
            "code": _CODE,
            "description": _text("What it stands for.", "name", "title", required=True),
            "unit": _UNIT,
        },
        also=("code sets", "cost codes", "pay items"),
    ),
    "prices": Kind(
        key=(COMPANY, "book", "edition", "code", "unit", "cost_type"),
        fields={
            COMPANY: _COMPANY,
            "book": _text("What the price book is called.", "price book", "catalogue", required=True),
            "edition": _text("Which edition of it.", "year", "version", required=True),
            "currency": _text("ISO 4217 code of all its prices.", "ccy", required=True),
            "dated_on": Field(DATE, True, "The day its prices are of.", ("date", "as of")),
            "source": _text("Where the book is from."),
            "code": _CODE,
            "description": _text("What it is, in words.", "name", "title", required=True),
            "unit": _UNIT._replace(required=True),
            "unit_price": Field(DECIMAL, True, "Price of one unit.", ("price", "rate", "unit cost")),
            "cost_type": _text("labour, material, equipment, subcontract or other.", "type"),
            "category": _text("A heading of the book.", "heading", "group"),
        },
        also=("price book", "price books", "rates", "resources"),
    ),
}
"""In the order in which they are imported: what others rest on comes first."""
