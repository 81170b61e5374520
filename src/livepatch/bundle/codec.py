"""A patch as bytes, and back: metadata and source text in canonical msgpack, and nothing that runs by being read.

A file is the list ``["livepatch.patch", 2, contents]``: what it is and the version of its format come first, so that a
reader can tell a later version from a broken file.  `contents` is a record of :class:`Contents`; each class in
``edits.py`` is a record of its fields.  Every field is written, sorted by name.  Format 1 lacks the fields in
:data:`SINCE_2`, and a patch in which they are all empty is written in it; so each patch has exactly one file.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import msgpack

from livepatch.bundle.envelope import UnverifiedBundle, VerifiedBundle, digest
from livepatch.bundle.naming import (
    check_claim,
    check_code,
    check_dotted,
    check_file,
    check_identifier,
    check_identifier_or_nothing,
    check_not_empty,
    check_place,
    check_requirement,
    check_scope,
    check_target_or_nothing,
    check_versions,
)
from livepatch.bundle.reading import LIMITS, Limits, Reader
from livepatch.contents.claims import RoundTrip, Snapshot, Waiver, check_path, check_reason, check_target
from livepatch.contents.edits import (
    NOTHING_KNOWN,
    AttributeDefault,
    Captured,
    ClassHead,
    FunctionEdit,
    Memo,
    ModuleEdit,
    NameEdit,
    Needs,
    Obstacle,
    PlanEntry,
    Side,
    Statement,
    Text,
    Unfit,
    replaced_functions,
)
from livepatch.contents.embargo import Embargo, check_line, check_until
from livepatch.contents.identity import check_distribution, check_name
from livepatch.contents.ownership import NOBODY, Owners, check_owner
from livepatch.contents.probes import LARGEST as LARGEST_PROBE
from livepatch.contents.probes import MOST as MOST_PROBES
from livepatch.contents.probes import Probe
from livepatch.contents.release import ANYONE, LARGEST, Release, check_expires
from livepatch.errors import BundleError, PatchError, spelled

__all__ = ["FORMATS", "MAGIC", "SINCE_2", "Contents", "decode", "digest", "encode", "format_of"]

MAGIC = "livepatch.patch"
FORMATS = (1, 2)
SINCE_2 = ("embargo", "owners", "probes")
"""What a file of format 1 has no place for."""

_ACCESSORS: tuple[Literal["", "fget", "fset", "fdel"], ...] = ("", "fget", "fset", "fdel")
_KINDS: tuple[Literal["changed", "derived", "added", "removed"], ...] = ("changed", "derived", "added", "removed")
_VERDICTS: tuple[Literal["taken", "needed", "left-out", "cannot"], ...] = ("taken", "needed", "left-out", "cannot")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """All of a patch that a file can hold.  The fields are those of :class:`livepatch.Patch`."""

    id: str
    package: str
    versions: str
    summary: str
    flag: str
    requires: tuple[str, ...]
    edits: tuple[ModuleEdit, ...]
    obstacles: tuple[Obstacle, ...]
    plan: tuple[PlanEntry, ...]
    compatible_with: str = ""
    waivers: tuple[Waiver, ...] = ()
    round_trips: tuple[RoundTrip, ...] = ()
    snapshots: tuple[Snapshot, ...] = ()
    needs: Needs = NOTHING_KNOWN
    pure: tuple[str, ...] = ()
    release: Release = ANYONE
    owners: Owners = NOBODY
    embargo: Embargo | None = None
    probes: tuple[Probe, ...] = ()


def format_of(contents: Any) -> int:
    """The format in which a patch is written: the patch itself, or its contents."""
    return 2 if any(getattr(contents, name) for name in SINCE_2) else 1


def encode(contents: Contents) -> bytes:
    """The bytes of a patch file: the same contents always give the same.

    Raises :class:`BundleError` if the contents are such that :func:`decode` would refuse the file.
    """
    try:
        version = format_of(contents)
        plain = _plain(contents)
        if version == 1:
            plain = {name: value for name, value in plain.items() if name not in SINCE_2}
        data: bytes = msgpack.packb([MAGIC, version, plain])
    except (UnicodeEncodeError, OverflowError, TypeError, ValueError) as error:
        raise BundleError(
            f"patch {contents.id} cannot be written",
            found=str(error),
            expected="texts, whole numbers and lists of them",
            action="mend the part of the patch that holds it",
        ) from error
    _read(Reader(data, refusal=f"patch {contents.id} cannot be written", action="mend that part of the patch"))
    return data


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        names = sorted(field.name for field in dataclasses.fields(value))
        return {name: _plain(getattr(value, name)) for name in names}
    return list(map(_plain, value)) if isinstance(value, tuple) else value


def decode(bundle: VerifiedBundle | UnverifiedBundle, limits: Limits = LIMITS) -> Contents:
    """Read the bytes of a patch.  Its sources are not parsed, and nothing of it is run.

    It takes bytes of which it is known whether they were verified, and no others: what reads a file has to say.
    Raises :class:`BundleError`, which says where in the file and what is wrong with it.
    """
    if not isinstance(bundle, (VerifiedBundle, UnverifiedBundle)):
        raise TypeError(f"bundle must be a VerifiedBundle or an UnverifiedBundle, not {spelled(bundle)}")
    data = bundle.payload
    reader = Reader(data, limits)
    if msgpack.packb(MAGIC) not in data[:32]:
        raise BundleError(
            "this is no livepatch file",
            found=f"a file that begins with {spelled(data[:16])}" if data else "an empty file",
            expected="a file that was saved with Patch.save or livepatch build",
            action="correct the path",
        )
    return _read(reader)


def _read(reader: Reader) -> Contents:
    head = reader.row()
    if head < 2 or reader.text(LIMITS.name) != MAGIC:
        reader.fail(found="something else", expected=f"a list that begins with {MAGIC!r}")
    version = reader.number(1, 2**32 - 1)
    if version not in FORMATS:
        reader.fail(
            found=f"format {version}",
            expected=f"format {' or '.join(map(str, FORMATS))}",
            action="read it with the livepatch that wrote it",
        )
    if head != 3:
        reader.fail(found=f"a list of {head}", expected="the name, the format and the contents")
    contents = reader.record(lambda: _contents(reader, version))
    reader.end()
    if format_of(contents) != version:
        reader.fail(found=f"format {version} with nothing that needs it", expected="format 1: a patch has one file")
    return contents


# One function a record.  Arguments are evaluated as they are written: sorted by name, as the fields lie in the file.


def _contents(reader: Reader, version: int) -> Contents:
    field, items = reader.field, reader.items
    later = version >= 2
    contents = Contents(
        compatible_with=field("compatible_with", reader.name, check_claim),
        edits=field("edits", items, reader.record, lambda: _module(reader)),
        embargo=field("embargo", reader.optional, reader.record, lambda: _embargo(reader)) if later else None,
        flag=field("flag", reader.name, lambda text: check_name("flag", text)),
        id=field("id", reader.name, lambda text: check_name("id", text)),
        needs=field("needs", reader.record, lambda: _needs(reader)),
        obstacles=field("obstacles", items, reader.record, lambda: _obstacle(reader)),
        owners=field("owners", reader.record, lambda: _owners(reader)) if later else NOBODY,
        package=field("package", reader.name, check_distribution),
        plan=field("plan", items, reader.record, lambda: _entry(reader)),
        probes=field("probes", items, reader.record, lambda: _probe(reader)) if later else (),
        pure=field("pure", items, reader.name, check_not_empty),
        release=field("release", reader.record, lambda: _release(reader)),
        requires=field("requires", items, reader.name, lambda text: check_name("requires", text)),
        round_trips=field("round_trips", items, reader.record, lambda: _round_trip(reader)),
        snapshots=field("snapshots", items, reader.record, lambda: _snapshot(reader)),
        summary=field("summary", reader.free),
        versions=field("versions", reader.name, check_versions),
        waivers=field("waivers", items, reader.record, lambda: _waiver(reader)),
    )
    _check_once(reader, "edits", [edit.module for edit in contents.edits])
    _check_once(reader, "probes", [probe.name for probe in contents.probes])
    _check_once(reader, "pure", list(contents.pure))
    _check_once(reader, "requires", list(contents.requires))
    _check_once(reader, "waivers", [waiver.target for waiver in contents.waivers])
    if len(contents.probes) > MOST_PROBES:
        reader.fail(found=f"{len(contents.probes)} probes", expected=f"{MOST_PROBES} or fewer")
    replaced = frozenset(replaced_functions(contents.edits) if contents.pure else ())
    for name in contents.pure:
        if name not in replaced:
            reader.fail(found=f"{name}, declared pure", expected="functions that the patch replaces")
    if contents.id in contents.requires:
        reader.fail(found=f"a patch {contents.id} that requires itself", expected="ids of other patches")
    return contents


def _check_once(reader: Reader, what: str, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            reader.fail(found=f"{name} twice in {what}", expected="each once")
        seen.add(name)


def _module(reader: Reader) -> ModuleEdit:
    field, items, record = reader.field, reader.items, reader.record
    edit = ModuleEdit(
        after=field("after", record, lambda: _side(reader)),
        attributes=field("attributes", items, record, lambda: _attribute(reader)),
        before=field("before", record, lambda: _side(reader)),
        caches=field("caches", items, reader.name, check_dotted),
        captured=field("captured", items, record, lambda: _captured(reader)),
        classes=field("classes", items, record, lambda: _class(reader)),
        functions=field("functions", items, record, lambda: _function(reader)),
        memos=field("memos", items, record, lambda: _memo(reader)),
        module=field("module", reader.name, check_dotted),
        names=field("names", items, record, lambda: _name(reader)),
        path=field("path", reader.name, check_file),
        tables=field("tables", items, reader.name, check_dotted),
        unfit=field("unfit", items, record, lambda: _unfit(reader)),
        whole=field("whole", reader.optional, reader.source, least=0),
    )
    if edit.whole is not None and edit != ModuleEdit(module=edit.module, path=edit.path, whole=edit.whole):
        reader.fail(found="a whole new module with edits", expected="the source of a new module and nothing beside it")
    return edit


def _class(reader: Reader) -> ClassHead:
    return ClassHead(
        bases=reader.field("bases", reader.items, reader.source),
        qualname=reader.field("qualname", reader.name, check_dotted),
    )


def _side(reader: Reader) -> Side:
    field, items = reader.field, reader.items
    return Side(
        futures=field("futures", items, reader.name, check_identifier),
        imports=field("imports", items, reader.source),
        program=field("program", items, reader.record, lambda: _statement(reader)),
    )


def _statement(reader: Reader) -> Statement:
    return Statement(
        scope=reader.field("scope", reader.name, check_scope),
        text=reader.field("text", reader.record, lambda: _text(reader)),
    )


def _text(reader: Reader) -> Text:
    return Text(line=reader.field("line", reader.line), source=reader.field("source", reader.source))


def _function(reader: Reader) -> FunctionEdit:
    field = reader.field
    edit = FunctionEdit(
        accessor=field("accessor", reader.choice, _ACCESSORS),
        after=field("after", reader.optional, reader.record, lambda: _text(reader)),
        before=field("before", reader.optional, reader.record, lambda: _text(reader)),
        count=field("count", reader.number, 1, LIMITS.items),
        defaults=field("defaults", reader.flag),
        index=field("index", reader.number, 0, LIMITS.items),
        qualname=field("qualname", reader.name, check_dotted),
        rebound=field("rebound", reader.flag),
    )
    if edit.before is None and edit.after is None:
        reader.fail(found="a function without a before and an after", expected="one of them, or both")
    if edit.index >= edit.count:
        reader.fail(found=f"index {edit.index} of {edit.count}", expected="an index below the count")
    return edit


def _name(reader: Reader) -> NameEdit:
    return NameEdit(
        kind=reader.field("kind", reader.choice, _KINDS),
        qualname=reader.field("qualname", reader.name, check_dotted),
    )


def _attribute(reader: Reader) -> AttributeDefault:
    field = reader.field
    return AttributeDefault(
        class_qualname=field("class_qualname", reader.name, check_dotted),
        expression=field("expression", reader.source, least=0),
        fixed=field("fixed", reader.flag),
        kept_by=field("kept_by", reader.name, check_target_or_nothing),
        kinds=field("kinds", reader.items, reader.name, check_identifier),
        name=field("name", reader.name, check_identifier),
        of=field("of", reader.name, check_identifier_or_nothing),
        reason=field("reason", reader.free),
        shared=field("shared", reader.flag),
    )


def _unfit(reader: Reader) -> Unfit:
    field = reader.field
    return Unfit(
        class_qualname=field("class_qualname", reader.name, check_dotted),
        kinds=field("kinds", reader.items, reader.name, check_identifier),
        name=field("name", reader.name, check_identifier),
        reason=field("reason", reader.free),
    )


def _memo(reader: Reader) -> Memo:
    return Memo(
        initial=reader.field("initial", reader.source, least=0),
        of=reader.field("of", reader.name, check_not_empty),
        target=reader.field("target", reader.name, check_place),
    )


def _captured(reader: Reader) -> Captured:
    return Captured(
        after=reader.field("after", reader.source, least=0),
        before=reader.field("before", reader.source, least=0),
        but_for=reader.field("but_for", reader.items, reader.name, check_target_or_nothing),
        class_qualname=reader.field("class_qualname", reader.name, check_dotted),
        name=reader.field("name", reader.name, check_identifier),
        of=reader.field("of", reader.name, check_not_empty),
    )


def _obstacle(reader: Reader) -> Obstacle:
    field = reader.field
    return Obstacle(
        action=field("action", reader.free),
        code=field("code", reader.name, check_code),
        expected=field("expected", reader.free),
        found=field("found", reader.free),
        target=field("target", reader.name, check_not_empty),
    )


def _needs(reader: Reader) -> Needs:
    field, items = reader.field, reader.items
    return Needs(
        after=field("after", items, reader.name, check_requirement),
        before=field("before", items, reader.name, check_requirement),
        python=field("python", reader.name, check_claim),
    )


def _waiver(reader: Reader) -> Waiver:
    return Waiver(
        reason=reader.field("reason", reader.name, check_reason),
        target=reader.field("target", reader.name, check_target),
    )


def _release(reader: Reader) -> Release:
    field = reader.field
    channel = field("channel", reader.name, lambda text: check_name("channel", text))
    expires = field("expires", reader.name, check_expires)
    nodes = field("nodes", reader.items, reader.name, lambda text: check_name("nodes", text))
    revision = field("revision", reader.number, 1, LARGEST)
    try:
        return Release(channel=channel, expires=expires, nodes=nodes, revision=revision)
    except PatchError as error:
        reader.fail(found=error.found, expected=error.expected, cause=error)


def _owners(reader: Reader) -> Owners:
    return Owners(
        call=reader.field("call", reader.name, check_owner),
        stops=reader.field("stops", reader.name, check_owner),
        watches=reader.field("watches", reader.name, check_owner),
    )


def _embargo(reader: Reader) -> Embargo:
    field = reader.field
    paths = field("affected_paths", reader.items, reader.name, check_line)
    concept = field("proof_of_concept", reader.free)
    reporter = field("reporter", reader.name, check_line)
    until = field("until", reader.name, check_until)
    try:
        return Embargo(until=until, proof_of_concept=concept, affected_paths=paths, reporter=reporter)
    except PatchError as error:
        reader.fail(found=error.found, expected=error.expected, cause=error)


def _probe(reader: Reader) -> Probe:
    return Probe(
        name=reader.field("name", reader.name, lambda text: check_name("name", text)),
        safe=reader.field("safe", reader.flag),
        source=reader.field("source", reader.source, most=LARGEST_PROBE),
    )


def _round_trip(reader: Reader) -> RoundTrip:
    return RoundTrip(
        decode=reader.field("decode", reader.name, lambda text: check_path("decode", text)),
        encode=reader.field("encode", reader.name, lambda text: check_path("encode", text)),
        values=reader.field("values", reader.name, lambda text: check_path("values", text)),
    )


def _snapshot(reader: Reader) -> Snapshot:
    field = reader.field
    snapshot = Snapshot(
        examples=field("examples", reader.name, lambda text: check_path("examples", text)),
        load=field("load", reader.name, lambda text: check_path("load", text)),
        rollback=field("rollback", reader.flag),
        store=field("store", reader.name, lambda text: check_path("store", text) if text else text),
    )
    if snapshot.rollback and not snapshot.store:
        reader.fail(found="a promise of rollback without a function that stores", expected="both, or no promise")
    return snapshot


def _entry(reader: Reader) -> PlanEntry:
    field = reader.field
    return PlanEntry(
        target=field("target", reader.name, check_not_empty),
        verdict=field("verdict", reader.choice, _VERDICTS),
        what=field("what", reader.free),
        why=field("why", reader.free),
    )
