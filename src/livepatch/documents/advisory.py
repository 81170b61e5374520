"""What only people know of a flaw and its fix: read from one TOML file, so that no document has it typed in again."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from packaging.version import InvalidVersion, Version

from livepatch.compat.tables import Table
from livepatch.compat.windows import told_moment
from livepatch.contents.embargo import Embargo
from livepatch.contents.ownership import NOBODY, ROLES, Owners, check_owner
from livepatch.errors import PatchError, PolicyError
from livepatch.govern.rulefiles import read_rules

__all__ = ["REFERENCES", "Advisory", "Moment", "Publisher", "Reference", "Source", "read_advisory", "read_embargo"]

NOUN = "file about a flaw"
REFERENCES = ("ADVISORY", "ARTICLE", "DETECTION", "DISCUSSION", "REPORT", "FIX", "GIT", "PACKAGE", "EVIDENCE", "WEB")
_IN_URLS = r"[A-Za-z0-9._~:?#\[\]@!$&'()*+,;=%-]"  # RFC 3986
_URL = re.compile(rf"https?://{_IN_URLS}+(?:/(?:{_IN_URLS}|/)*)?")
_CWE = re.compile(r"CWE-[1-9][0-9]{0,5}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Where more stands; `kind` is one of OSV's."""

    url: str
    kind: str = "WEB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What happened when."""

    at: datetime
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """Who publishes the advisory: a name, the URL of their own that ids begin with, and how to reach them."""

    name: str
    namespace: str
    contact: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """From which revisions of which repository the two trees were taken that the patch was built from."""

    repository: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """What people know, see docs/documents.md.  What nobody has said is empty, and documents say so."""

    title: str
    description: str
    publisher: Publisher
    published: datetime
    fixed: str = ""
    aliases: tuple[str, ...] = ()
    cvss: str = ""
    cwe: tuple[str, ...] = ()
    exploitability: str = ""
    exposure: str = ""
    behaviour: str = ""
    side_effects: str = ""
    workaround: str = ""
    unknown: tuple[str, ...] = ()
    watch: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()
    timeline: tuple[Moment, ...] = ()
    owner: Owners = NOBODY
    source: Source | None = None
    embargo: Embargo | None = None


def read_advisory(path: Path) -> Advisory:
    """Read the file.  Raises :class:`PolicyError`, which says where in it and what is wrong."""
    return advisory_in(read_rules(path, str(path), NOUN), str(path))


def advisory_in(data: bytes, source: str) -> Advisory:
    """The facts in the bytes of a file.  Raises :class:`PolicyError`."""
    from livepatch.govern.severity import EXPLOITABILITY, EXPOSURE

    table = Table.read(data, source, NOUN)
    publisher = table.table("publisher", _publisher)
    if publisher is None:
        table.fail("publisher", "nothing", "a table [publisher] with name and namespace")
    made = Advisory(
        title=_needed(table, "title", table.text("title")),
        description=_needed(table, "description", table.prose("description")),
        publisher=publisher,
        published=table.moment("published"),
        fixed=_release(table, "fixed"),
        aliases=table.texts("aliases"),
        cvss=table.text("cvss"),
        cwe=_cwe(table, table.texts("cwe")),
        exploitability=_word(table, "exploitability", EXPLOITABILITY),
        exposure=_word(table, "exposure", EXPOSURE),
        behaviour=table.prose("behaviour"),
        side_effects=table.prose("side-effects"),
        workaround=table.prose("workaround"),
        unknown=table.texts("unknown"),
        watch=table.texts("watch"),
        references=table.tables("reference", _reference),
        timeline=tuple(sorted(table.tables("timeline", _moment), key=lambda each: each.at)),
        owner=table.table("owner", _owner) or NOBODY,
        source=table.table("source", _source),
        embargo=table.table("embargo", _embargo),
    )
    table.end()
    return made


def read_embargo(path: Path) -> Embargo:
    """What a file puts under embargo: the fields of the table ``[embargo]``, alone.  Raises :class:`PolicyError`."""
    table = Table.read(read_rules(path, str(path), NOUN), str(path), NOUN)
    made = _embargo(table)
    table.end()
    return made


def _needed(table: Table, key: str, value: str) -> str:
    if not value.strip():
        table.fail(key, "nothing", "a text")
    return value


def _release(table: Table, key: str) -> str:
    value = table.text(key)
    try:
        Version(value or "0")
    except InvalidVersion:
        table.fail(key, repr(value), "a release such as 2.1.1 (PEP 440)")
    return value


def _word(table: Table, key: str, known: tuple[str, ...]) -> str:
    value = table.text(key)
    if value and value not in known:
        table.fail(key, repr(value), f"one of {', '.join(known)}")
    return value


def _cwe(table: Table, values: tuple[str, ...]) -> tuple[str, ...]:
    for index, value in enumerate(values):
        if not _CWE.fullmatch(value):
            table.fail(f"cwe[{index}]", repr(value), "a weakness such as CWE-22")
    return values


def _url(table: Table, key: str) -> str:
    value = table.text(key)
    if not _URL.fullmatch(value):
        table.fail(key, repr(value) if value else "nothing", "a URL such as https://example.org/advisories")
    return value


def _publisher(table: Table) -> Publisher:
    return Publisher(
        name=_needed(table, "name", table.text("name")),
        namespace=_url(table, "namespace").rstrip("/"),
        contact=table.text("contact"),
    )


def _reference(table: Table) -> Reference:
    return Reference(url=_url(table, "url"), kind=_word(table, "type", REFERENCES) or "WEB")


def _moment(table: Table) -> Moment:
    return Moment(at=table.moment("at"), what=_needed(table, "what", table.text("what")))


def _owner(table: Table) -> Owners:
    texts = {role: table.text(role) for role in ROLES}
    for role, text in texts.items():
        try:
            check_owner(text)
        except PatchError as error:
            table.fail(role, error.found, error.expected)
    return Owners(**texts)


def _source(table: Table) -> Source:
    return Source(
        repository=_url(table, "repository"),
        before=_needed(table, "before", table.text("before")),
        after=_needed(table, "after", table.text("after")),
    )


def _embargo(table: Table) -> Embargo:
    until = told_moment(table.moment("until"))
    try:
        return Embargo(
            until=until,
            proof_of_concept=table.prose("proof-of-concept"),
            affected_paths=table.texts("affected-paths"),
            reporter=table.text("reporter"),
        )
    except (PatchError, PolicyError) as error:
        # What is wrong may be quoted, and nobody is told that here.
        raise PolicyError(
            str(error).partition("; found: ")[0],
            found="a text that is under embargo, and so is not shown",
            expected=error.expected,
            action=error.action,
        ) from None
