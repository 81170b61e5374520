"""Which patches a node is wished to run, in which order and modes, and what it goes back to if that kills it.  Pure.

The set that is wished for is *on trial* from just before something of it goes in, until that has run for a while.  A
process that is gone by then is taken to have died of it: the next one begins with the set before.  `before` is always
one that has run for its while, or that nobody has tried; a second death falls back no further.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from livepatch.bundle.jsontext import Fields, read_object, refusing
from livepatch.contents.identity import check_name
from livepatch.contents.release import is_moment
from livepatch.engine.modes import Mode
from livepatch.errors import PatchError, StateError, spelled
from livepatch.node.modetext import read_mode

__all__ = ["GUARD", "LARGEST", "Fallen", "Wanted", "Wish", "modules_told"]

GUARD = 10.0
"""Seconds for which a process has to live on before a patch that went in is not to blame for its death."""

_KIND = "livepatch.wanted"
_FORMAT = 1
_MOST = 1000
_LONGEST = 300  # characters of a module's name
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
LARGEST = 16 << 20
"""Bytes of the file in which it lies."""
_REFUSE = refusing(
    StateError,
    "the set of patches that is wished for cannot be read",
    "restore the file 'wanted' of the store from a copy; or remove it: then no patch goes in at the start, and those "
    "that are wanted are applied anew",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One patch of the set: which file, and how it is to go in.

    `file` is the digest of the installed file's bytes and `digest` that of the patch in it, by which records, reports
    and approvals know it, each ``sha256:`` and 64 hexadecimal digits; `id` is the patch's id.  `mode` is a mode as
    text (:mod:`livepatch.node.modetext`), `replaces` the ids of those in whose place it went in, and `since` the moment
    of UTC at which it first did.

    Raises :class:`PatchError` for what is no such thing.
    """

    file: str
    digest: str
    id: str
    mode: str = "on"
    replaces: tuple[str, ...] = ()
    since: str = ""
    modules: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("file", "digest"):
            _check_digest(name, getattr(self, name))
        check_name("id", self.id)
        read_mode(self.mode, _no_height)
        for each in self.replaces:
            check_name("replaces", each)
        if len(self.modules) > _MOST or any(len(each) > _LONGEST or not each.isascii() for each in self.modules):
            raise PatchError(
                "modules cannot be told",
                found=f"{len(self.modules)} names",
                expected=f"at most {_MOST} names, each of at most {_LONGEST} characters of ASCII",
                action="leave them out",
            )
        if self.since and not is_moment(self.since):
            raise PatchError(
                "since is no moment",
                found=spelled(self.since),
                expected="a moment of UTC such as '2027-03-31T00:00:00Z', or nothing",
                action="give one, or leave it out",
            )

    def mode_of(self, height: object = None) -> Mode:
        """The mode itself; `height` is the function of no argument that gives the node's height, for ``at(…)``.

        Raises :class:`PatchError` for ``at(…)`` without a height.
        """
        return read_mode(self.mode, height)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallen:
    """A patch without which the node came up, because the process before it died too soon after it had gone in."""

    id: str
    digest: str
    mode: str
    at: str
    """The moment of UTC at which that was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a node is wished to run.

    `patches` are in the order in which they go in.  `before` is what it goes back to, and `trial` is what was going in
    when that was last written, or ``None`` if what is wished for has run for its while.  `fallen` are those that were
    lost to deaths and that nobody has asked for since.  `generation` counts how often this was written.
    """

    generation: int = 0
    patches: tuple[Wish, ...] = ()
    before: tuple[Wish, ...] = ()
    trial: tuple[Wish, ...] | None = None
    fallen: tuple[Fallen, ...] = ()

    def __post_init__(self) -> None:
        for each in (self.patches, self.before, self.trial or ()):
            _check_set(each)

    def trying(self, patches: Iterable[Wish]) -> Wanted:
        """Before those go in: from here on, a process that is gone has died of them.  What is wished for stays."""
        return replace(self, generation=self.generation + 1, before=self._good(), trial=tuple(patches))

    def wishing(self, patches: Iterable[Wish]) -> Wanted:
        """Those are wished for from now on.  A trial goes on; one has begun if something of it went in."""
        given = tuple(patches)
        known = {each.id for each in (*given, *self.patches)}
        started = self.trying(given) if self.trial is None and self.brings_in(given) else self
        return replace(
            started,
            generation=self.generation + 1,
            patches=given,
            before=_left_of(started.before, given),
            trial=None if started.trial is None else given,
            fallen=tuple(each for each in self.fallen if each.id not in known),
        )

    def brings_in(self, patches: Iterable[Wish]) -> bool:
        """Whether something goes in on the way to those: not if patches only go out, or off."""
        known = {(each.file, each.mode) for each in self.patches}
        files = {each.file for each in self.patches}
        return any(
            (each.file, each.mode) not in known and not (each.mode == "off" and each.file in files) for each in patches
        )

    def restoring(self) -> Wanted:
        """At a start, what is wished for goes in anew; what it goes back to stays."""
        return replace(self, generation=self.generation + 1, trial=self.patches)

    def withdrawn(self, was: Wanted) -> Wanted:
        """The trial that began over `was` came to nothing: all is as it was then."""
        return replace(was, generation=self.generation + 1)

    def proved(self) -> Wanted:
        """What is wished for has run for its while, or its process has ended in good order."""
        return replace(self, generation=self.generation + 1, trial=None)

    def after_death(self, at: str) -> Wanted:
        """What a process begins with whose predecessor has left a trial: the set before it; else this very value."""
        if self.trial is None:
            return self
        kept = {(each.file, each.mode) for each in self.before}
        lost = {each.id: each for each in (*self.patches, *self.trial) if (each.file, each.mode) not in kept}
        new = tuple(Fallen(id=each.id, digest=each.digest, mode=each.mode, at=at) for each in lost.values())
        return Wanted(
            generation=self.generation + 1,
            patches=self.before,
            before=self.before,
            fallen=(*(each for each in self.fallen if each.id not in lost), *new)[-_MOST:],
        )

    def _good(self) -> tuple[Wish, ...]:
        return self.before if self.trial is not None else self.patches

    # As bytes

    def to_bytes(self) -> bytes:
        """As it lies in its file."""
        body = json.dumps(
            {
                "generation": self.generation,
                "patches": [asdict(each) for each in self.patches],
                "before": [asdict(each) for each in self.before],
                "trial": [asdict(each) for each in self.trial or ()],
                "on_trial": self.trial is not None,
                "fallen": [asdict(each) for each in self.fallen],
            },
            sort_keys=True,
        )
        seal = hashlib.sha256(body.encode()).hexdigest()
        return f'{{"type": "{_KIND}", "format": {_FORMAT}, "sha256": "{seal}", "wanted": {body}}}\n'.encode()

    @classmethod
    def parse(cls, data: bytes) -> Wanted:
        """Read that strictly.  Raises :class:`StateError`."""
        fields = read_object(data, most=LARGEST, brackets=16 * _MOST, refuse=_REFUSE)
        fields.exactly("type", _KIND)
        fields.exactly("format", _FORMAT)
        seal = fields.text("sha256", 64)
        body = fields.record("wanted")
        fields.end()
        # What a disk has changed is not taken for a wish.
        if hashlib.sha256(data.partition(b'"wanted": ')[2].removesuffix(b"}\n")).hexdigest() != seal:
            raise _REFUSE("bytes that are not those of which the digest was taken", "the file as it was written")
        generation = body.number("generation", 0)
        sets = {name: _wishes(body.records(name, _MOST)) for name in ("patches", "before", "trial")}
        on_trial = body.truth("on_trial")
        fallen = tuple(_fallen(each) for each in body.records("fallen", _MOST))
        body.end()
        if sets["trial"] and not on_trial:
            raise _REFUSE("patches on trial, and no trial", "one of the two")
        try:
            return cls(
                generation=generation,
                patches=sets["patches"],
                before=sets["before"],
                trial=sets["trial"] if on_trial else None,
                fallen=fallen,
            )
        except PatchError as error:
            raise _REFUSE(error.found, error.expected) from error


def modules_told(names: Iterable[str]) -> tuple[str, ...]:
    """Module names as a wish holds them; none if it cannot hold them all."""
    found = tuple(dict.fromkeys(names))
    fits = len(found) <= _MOST // 5 and all(len(each) <= _LONGEST and each.isascii() for each in found)
    return found if fits else ()


def _check_set(wishes: tuple[Wish, ...]) -> None:
    ids = [each.id for each in wishes]
    twice = next((name for name in ids if ids.count(name) > 1), None)
    if twice is not None or len(ids) > _MOST:
        raise PatchError(
            "no set of patches that a node can run",
            found=f"{spelled(twice)} twice" if twice is not None else f"{len(ids)} patches",
            expected=f"each id once, and at most {_MOST}",
            action="leave patches out, or put one that holds their changes in their place",
        )


def _left_of(good: tuple[Wish, ...], wished: tuple[Wish, ...]) -> tuple[Wish, ...]:
    """What to go back to once those are wished for: without what was taken out by hand, and off what was switched off.

    What went out in exchange for another patch comes back with it, for that is what ran before.
    """
    modes = {each.file: each.mode for each in wished}
    exchanged = {name for each in wished for name in each.replaces}
    return tuple(
        replace(each, mode="off") if modes.get(each.file) == "off" else each
        for each in good
        if each.file in modes or each.id in exchanged or any(each.id == other.id for other in wished)
    )


def _check_digest(name: str, value: str) -> None:
    if not _DIGEST.fullmatch(value):
        raise PatchError(
            f"{name} is no digest",
            found=spelled(value),
            expected="sha256: and 64 hexadecimal digits in small letters",
            action="give the digest as it was told",
        )


def _no_height() -> int:
    return 0


def _wishes(records: Iterable[Fields]) -> tuple[Wish, ...]:
    return tuple(_wish(each) for each in records)


def _wish(fields: Fields) -> Wish:
    values = {name: fields.text(name, 1000) for name in ("file", "digest", "id", "mode", "since")}
    replaces = fields.texts("replaces", _MOST, 128)
    modules = fields.texts("modules", _MOST, _LONGEST)
    fields.end()
    try:
        return Wish(**values, replaces=replaces, modules=modules)
    except PatchError as error:
        raise fields.error(values["id"][:128], error.found, error.expected) from error


def _fallen(fields: Fields) -> Fallen:
    made = Fallen(
        id=fields.text("id", 128, lambda value: check_name("id", value)),
        digest=fields.text("digest", 71, lambda value: _check_digest("digest", value)),
        mode=fields.text("mode", 1000, lambda value: read_mode(value, _no_height)),
        at=fields.moment("at"),
    )
    fields.end()
    return made
