"""The rules of the house, as assertions: who imports what, where SQL lives, what is registered and written down."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import errors

from api import app
from cairn import roles, schema, settings
from domain import registry as deciders
from domain.decider import Decider
from eventstore import sql
from eventstore.db import Database, role_url
from projections import builds
from projections import registry as projections
from projections.projection import Projection

ROOT = Path(__file__).parent.parent
LINE = ("domain", "eventstore", "projections")
"""Each may import those before it, and nothing after."""
ABOVE = {"api": LINE, "workers": LINE, "migrations": (), "cairn": (*LINE, "api", "workers", "migrations")}
PACKAGES = (*LINE, *ABOVE)
OWNERS = {
    "litestar": ("api",),
    "uvicorn": ("api",),
    "nats": ("eventstore/wire.py",),
    "psycopg": ("eventstore", "projections", "migrations", "workers/upstreams/over_sql.py"),
    "psycopg_pool": ("eventstore",),
    "alembic": ("migrations",),
    "sqlalchemy": ("migrations",),
    "pydantic": ("domain", "api"),
    "pydantic_core": ("domain", "api"),
    "click": ("cairn",),
    "rich": ("cairn",),
    "httpx": ("cairn", "workers/upstreams/"),  # each speaks to a server as its client: ours, and somebody else's
    "stamina": ("workers/upstreams/",),
    "openpyxl": ("workers/upstreams/",),
    "procrastinate": ("workers/jobs.py", "migrations/versions/0010_jobs.py"),
    "croniter": ("domain", "workers/schedules.py"),
    "cryptography": ("eventstore/keyring.py", "eventstore/vault.py"),
}
NOT_IN_DOMAIN = {"asyncio", "logging", "os", "time", "random", "secrets", "socket", "threading", "subprocess"}
VAGUE = {"manager", "helper", "helpers", "util", "utils", "handler", "processor", "misc", "common"}
SQL_TEXT = re.compile(
    r"\bselect\b[^.]+\bfrom\b|\binsert into\b|\bupdate \w+ set\b|\bdelete from\b|\btruncate \w"
    r"|\b(create|drop|alter) (table|index|role|schema|function|view|policy)\b",
    re.IGNORECASE,
)
SQL_ALLOWED = {
    "migrations/run.py": "passwords of roles are literals that only composing can quote",
    "cairn/embedded_postgres.py": "asked through psql before there is a database",
    "cairn/doctor.py": "tells people what to type",
}
OUTSIDE = "|".join(
    [
        r"py" + r"pi\.org",
        r"python" + r"hosted",
        r"registry\." + r"npmjs",
        r"deb\." + r"debian",
        r"/wo" + r"rk/",
        r"/ro" + r"ot/",
        r"/ho" + r"me/",
        r"/tm" + r"p/cairn",
        r"\.lib" + r"rary\b",
        r"issues " + r"show",
        r"SPIKE" + r"-[A-Z]",
        r"EVENT" + r"-STORES",
        r"LAY" + r"OUT\.md",
        r"MOD" + r"ELS\.md",
        r"shared/" + r"(data|design|research)",
    ]
)
TEXTS = {".py", ".sql", ".md", ".toml", ".yaml", ".yml", ".json", ".mjs", ".txt", ".in", ".css", ".html", ""}


def _modules(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _files() -> Iterator[Path]:
    """Everything that is written by people and belongs to the project."""
    kept_out = {".git", ".venv", ".cairn", "__pycache__", "node_modules", ".hypothesis", "results"}
    for path in sorted(ROOT.rglob("*")):
        parts = set(path.relative_to(ROOT).parts)
        if path.is_file() and not parts & kept_out and not any(part.endswith("_cache") for part in parts):
            yield path


def test_packages_import_only_what_lies_before_them() -> None:
    allowed = {package: LINE[: LINE.index(package)] for package in LINE} | ABOVE
    breaches = [
        f"{_name(path)} imports {name}"
        for package in PACKAGES
        for path in _modules(package)
        for name in _imports(_tree(path))
        if (top := name.partition(".")[0]) in PACKAGES and top != package and top not in allowed[package]
    ]
    assert breaches == []


def test_outside_packages_have_owners() -> None:
    breaches = [
        f"{_name(path)} imports {name}"
        for path in _modules(*PACKAGES)
        for name in _imports(_tree(path))
        if (owners := OWNERS.get(name.partition(".")[0])) and not _name(path).startswith(owners)
    ]
    assert breaches == []


def test_the_domain_is_pure() -> None:
    impure = []
    for path in _modules("domain"):
        tree = _tree(path)
        impure += [
            f"{_name(path)} imports {name}" for name in _imports(tree) if name.partition(".")[0] in NOT_IN_DOMAIN
        ]
        impure += [
            f"{_name(path)}:{node.lineno} calls {node.func.attr}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in {"now", "utcnow", "today", "uuid4", "uuid1", "uuid7"}
        ]
        impure += [
            f"{_name(path)}:{node.lineno} is async" for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)
        ]
    assert impure == []


def test_imports_stand_at_the_top() -> None:
    inside = [
        f"{_name(path)}:{inner.lineno}"
        for path in _modules(*PACKAGES, "tests")
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Import | ast.ImportFrom)
    ]
    assert inside == []


def test_roots_of_packages_are_empty_and_modules_say_what_they_are() -> None:
    roots = [_name(path) for path in _modules(*PACKAGES) if path.name == "__init__.py" and path.read_text().strip()]
    silent = [
        _name(path)
        for path in _modules(*PACKAGES, "tests", "bench")
        if path.name != "__init__.py" and "golden" not in path.parts and not ast.get_docstring(_tree(path))
    ]
    assert (roots, silent) == ([], [])


def test_names_say_something() -> None:
    vague = [
        f"{_name(path)}: {name}"
        for path in _modules(*PACKAGES)
        for name in [
            path.stem,
            *(
                node.name
                for node in ast.walk(_tree(path))
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            ),
        ]
        if set(re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower().split("_")) & VAGUE
    ]
    assert vague == []


def test_sql_lives_in_sql_files() -> None:
    found = []
    for path in _modules(*PACKAGES):
        if _name(path) in SQL_ALLOWED:
            continue
        tree = _tree(path)
        prose = {
            id(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        found += [
            f"{_name(path)}:{node.lineno}: {node.value[:60]!r}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
            if SQL_TEXT.search(node.value)
        ]
    assert found == []


def test_aggregates_and_read_models_and_queries_are_registered() -> None:
    defined = [
        path.stem for path in _modules("domain") if re.search(r"^\w+ = Decider\(", path.read_text(), re.MULTILINE)
    ]
    assert sorted(defined) == sorted(_stem(decider) for decider in deciders.DECIDERS)
    pattern = re.compile(r"^projection = Projection\(", re.MULTILINE)
    models = [path.stem for path in _modules("projections") if pattern.search(path.read_text())]
    assert sorted(models) == sorted(_stem(projection) for projection in projections.PROJECTIONS)
    nouns = [path.stem for path in _modules("api/queries") if path.name != "__init__.py"]
    composition = Path(app.__file__).read_text(encoding="utf-8")
    assert [noun for noun in nouns if not re.search(rf"\b{noun}\b", composition)] == []


def _stem(registered: Decider[object, object, object] | Projection) -> str:  # type: ignore[type-var]  # any decider
    return registered.category if isinstance(registered, Decider) else registered.name


def _statements() -> Iterator[tuple[str, str, bytes]]:
    """File, name and text of every named statement."""
    for package in PACKAGES:
        if package != "migrations":
            for path in sorted((ROOT / package).rglob("*.sql")):
                for name, text in sql.parse(path.read_bytes()).items():
                    yield _name(path), name, text


def test_every_statement_is_used() -> None:
    words: dict[str, set[str]] = {}
    for package in PACKAGES:
        words[package] = {
            node.value
            for path in _modules(package)
            for node in ast.walk(_tree(path))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
    everything = set().union(*words.values())
    unused = [f"{file}: {name}" for file, name, _ in _statements() if name not in everything]
    assert unused == []


@pytest.fixture
async def prepared_url(database_url: str) -> str:
    """A migrated database in which every read model has a build."""
    password = urlsplit(database_url).password
    database = Database(role_url(database_url, "cairn_projector", password), name="tidy")
    await database.open()
    await builds.prepare(database, projections.PROJECTIONS)
    await database.close()
    return database_url


async def test_postgres_understands_every_statement(prepared_url: str) -> None:
    refused = []
    with psycopg.connect(prepared_url, autocommit=True) as connection:
        connection.execute("set search_path = read, cairn, public, pg_catalog")
        for file, name, text in _statements():
            if name == "schema" or b"{" in text:  # run when a build is made; composed of identifiers
                continue
            try:
                _prepare(connection, text)
            except errors.IndeterminateDatatype:
                pass  # the type comes with the value
            except psycopg.Error as error:
                refused.append(f"{file}: {name}: {error}")
    assert refused == []


def _prepare(connection: psycopg.Connection, text: bytes) -> None:
    numbers: dict[bytes, bytes] = {}

    def numbered(found: re.Match[bytes]) -> bytes:
        return numbers.setdefault(found.group(1), b"$%d" % (len(numbers) + 1))

    query = re.sub(rb"%\((\w+)\)[sbt]", numbered, text).replace(b"%%", b"%")
    result = connection.pgconn.prepare(b"", query)
    if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
        raise errors.error_from_result(result)


def test_the_schema_is_written_down(bare_database_url: str) -> None:
    assert schema.FILE.read_text(encoding="utf-8") == schema.dumped(bare_database_url), "run `make schema`"


def test_nothing_of_one_machine_is_written_down() -> None:
    pattern = re.compile(OUTSIDE)
    found = [
        f"{_name(path)}:{number}: {line.strip()[:80]}"
        for path in _files()
        if path.suffix in TEXTS and path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_the_readme_lists_the_settings() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition(settings.TABLE_BEGINS)[2].partition(settings.TABLE_ENDS)[0].strip()
    assert table == settings.as_markdown(), "run `python -m cairn settings --into README.md`"


def test_the_readme_says_who_may_do_what() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition(roles.TABLE_BEGINS)[2].partition(roles.TABLE_ENDS)[0].strip()
    assert table == roles.as_markdown(), "run `python -m cairn roles --into README.md`"


def test_the_documents_keep_their_form() -> None:
    assert len((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines()) <= 150
    decisions = re.split(r"^## ", (ROOT / "DECISIONS.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert [int(each.partition(".")[0]) for each in decisions] == list(range(1, len(decisions) + 1))
    assert [each.partition("\n")[0] for each in decisions if len(each.strip().splitlines()) > 20] == []
    assert (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()[2].startswith("## Unreleased")


def test_no_test_is_skipped() -> None:
    pattern = re.compile(r"pytest\.(skip|xfail|importorskip)|mark\.(skip|xfail)")
    found = [_name(path) for path in _modules("tests") if path != Path(__file__) and pattern.search(path.read_text())]
    assert found == []


def test_the_build_server_runs_the_readmes_test_command() -> None:
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1].endswith("exec make test")
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")
