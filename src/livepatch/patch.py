"""What a patch is: an id, the package and versions it is for, and a list of changes.

A :class:`Patch` describes; it never touches the process.  :func:`livepatch.check` and
:func:`livepatch.apply` read its changes as they are at that moment, so a patch may be
written to until then, and later changes to it do nothing to what was applied.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from livepatch.contents.changes import (
    Addition,
    Assignment,
    Attachment,
    Change,
    Replacement,
    Target,
    Wrapping,
    places_of,
)
from livepatch.contents.claims import (
    RoundTrip,
    Snapshot,
    Waiver,
    check_reason,
    check_target,
    round_trip_of,
    snapshot_of,
)
from livepatch.contents.edits import NOTHING_KNOWN, ModuleEdit, Obstacle, PlanEntry
from livepatch.contents.embargo import Embargo
from livepatch.contents.identity import check_distribution, check_ids, check_name, check_specifier
from livepatch.contents.ownership import NOBODY, Owners, owners_of
from livepatch.contents.probes import MOST, Probe, probe_of
from livepatch.contents.release import Release
from livepatch.contents.written import (
    check_default,
    check_names,
    check_source,
    check_wrapper,
    pins_of,
    written_attributes,
)
from livepatch.errors import BundleError, PatchError, counted, spelled
from livepatch.state.migration import Migration, migration_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from livepatch.bundle.codec import Contents
    from livepatch.bundle.envelope import SignedBundle
    from livepatch.state.checkpoint import Checkpoint
    from livepatch.state.touches import Touches

__all__ = ["Origin", "Patch"]

T = TypeVar("T")
C = TypeVar("C", bound=Callable[[], object])


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The file that a patch was loaded from.  Only one that was `verified` or vouched for can be applied.

    `digest` is that of the patch's bytes, ``sha256:`` and hexadecimal digits: the same whoever signs them.  `verified`:
    the signatures hold that a trust root asks for; then `signers` are the ids of the keys that count, by role, and
    `until` is the moment at which that trust root, `root`, expires.  `signed` is the envelope of a signed file.
    `vouched`: the caller took the file as it was, with ``trust=livepatch.UNSIGNED``.
    """

    path: str
    digest: str
    verified: bool = False
    vouched: bool = False
    signers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    until: str = ""
    signed: SignedBundle | None = field(default=None, repr=False)
    root: object = field(default=None, repr=False)


class Patch:
    """A fix for one package: which functions, names and values change, and for which versions.

    `id` is unique in a process.  `package` is a distribution name and `versions` a PEP 440 specifier;
    neither may be empty, because a patch that fits everything was made for nothing.  `flag` names the
    switch that turns the fix on and off (default: the id).  `requires` are the ids of patches without which this one
    does not work: it goes in only over them, and they stay as long as it does.

    `compatible_with` is a claim: the releases of the package (a PEP 440 specifier) with whose processes a patched one
    still exchanges messages and stored data.  What touches protected or protocol code needs one, see
    docs/compatibility.md.  `owners` say who looks after the patch: :class:`livepatch.Owners`, or a mapping with the
    roles ``watches``, ``stops`` and ``call``.

    A patch that :func:`livepatch.build` made has `edits` (what changes, as source text), `obstacles` (what cannot be
    done live) and a `plan` (what became of each difference); one that :func:`livepatch.load` read has an `origin` too.

    Raises :class:`PatchError` or :class:`TypeError`, each naming the argument.  Making a patch changes nothing in the
    process.
    """

    def __init__(
        self,
        id: str,  # noqa: A002  # the word that advisories use
        *,
        package: str,
        versions: str,
        summary: str = "",
        flag: str | None = None,
        requires: Iterable[str] = (),
        compatible_with: str = "",
        owners: Owners | Mapping[str, str] = NOBODY,
    ) -> None:
        for argument, value in (
            ("id", id),
            ("package", package),
            ("versions", versions),
            ("summary", summary),
            ("compatible_with", compatible_with),
        ):
            if not isinstance(value, str):
                raise TypeError(f"{argument} must be a str, not {spelled(value)}")
        if flag is not None and not isinstance(flag, str):
            raise TypeError(f"flag must be a str or None, not {spelled(flag)}")
        self.id = check_name("id", id)
        self.flag = self.id if flag is None else check_name("flag", flag)
        self.package = check_distribution(package)
        self.versions = check_specifier(versions)
        self.summary = summary
        self.requires = check_ids("requires", requires, self.id)
        self.compatible_with = check_specifier(compatible_with, "compatible_with") if compatible_with else ""
        self._owners = owners_of(owners)
        self._embargo: Embargo | None = None
        self.probes: tuple[Probe, ...] = ()
        """What shows that the hole is there without the patch, and is not with it; see :meth:`probe`."""
        self.waivers: tuple[Waiver, ...] = ()
        """What the author has looked into, and no protected code calls; see :meth:`waive`."""
        self.round_trips: tuple[RoundTrip, ...] = ()
        """What is to show that either side decodes what the other encodes; see :meth:`round_trip`."""
        self.snapshots: tuple[Snapshot, ...] = ()
        """Examples of stored data that both sides are to load; see :meth:`snapshot`."""
        self.edits: tuple[ModuleEdit, ...] = ()
        """What a patch built from two trees changes, as source text; modules in the order in which they are computed.

        Empty for a patch written in code.
        """
        self.obstacles: tuple[Obstacle, ...] = ()
        """What a patch built from two trees needs and cannot be done live.

        A process that has imported the module of one refuses the patch.
        """
        self.needs = NOTHING_KNOWN
        """The Python and the other distributions that the releases ask for, which a patch was built from."""
        self.plan: tuple[PlanEntry, ...] = ()
        """What became of each difference between the trees: taken, needed, left-out or cannot, and why.

        For people to read: it has no effect on what the patch does.
        """
        self.pure: tuple[str, ...] = ()
        """The functions of a patch built from two trees that whoever built it declared pure, as ``"module:qualname"``.

        Only they may run twice, in the mode ``"shadow"``; of a patch written in code, ``replace`` says it of each.
        """
        self.release = Release()
        """To whom the file of the patch is given out: channel, revision, until when, for which nodes.

        Signatures cover it, and a trust root is held against it; a patch without a file does not need it.
        """
        self.origin: Origin | None = None
        """The file that the patch was loaded from: its path, its digest, and who answers for it.

        ``None`` for a patch made in this process.
        """
        self.migrations: tuple[Migration, ...] = ()
        """How the data of the process changes along with the code; see :meth:`migrate`."""
        self._changes: list[Change] = []
        self._callbacks: dict[str, Callable[[], object]] = {}

    @property
    def owners(self) -> Owners:
        """Who watches the patch, who may stop it, whom to call.  Statuses and documents for operators show it.

        A mapping may be set as well.  Raises :class:`PatchError` or :class:`TypeError`; then it is as it was.
        """
        return self._owners

    @owners.setter
    def owners(self, owners: Owners | Mapping[str, str]) -> None:
        self._owners = owners_of(owners)

    @property
    def embargo(self) -> Embargo | None:
        """What nobody is told before a date, although it lies in the file; see docs/trust.md.

        Raises :class:`TypeError` if it is set to something else; then it is as it was.
        """
        return self._embargo

    @embargo.setter
    def embargo(self, embargo: Embargo | None) -> None:
        if embargo is not None and not isinstance(embargo, Embargo):
            raise TypeError(f"embargo must be livepatch.Embargo or None, not of type {type(embargo).__qualname__}")
        self._embargo = embargo

    @property
    def changes(self) -> tuple[Change, ...]:
        """What the patch changes, in the order in which it was written."""
        return tuple(self._changes)

    @property
    def callbacks(self) -> Mapping[str, Callable[[], object]]:
        """The functions to call around the switch, by the name of the moment."""
        return MappingProxyType(dict(self._callbacks))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was built from two trees into a file; the same patch gives the same bytes.

        The file is there whole or not at all, takes the place of an older one, and has mode 0644 less the umask.
        Raises :class:`BundleError` if it cannot be written, or if part of the patch was written in code: a file holds
        source text and metadata only.  Then the file that was there, and the patch, are unchanged.
        """
        from livepatch.bundle import disk

        disk.write(path, self.to_bytes())

    def to_bytes(self) -> bytes:
        """The bytes that :meth:`save` writes.  Raises :class:`BundleError` as it does."""
        from livepatch.bundle import codec

        return codec.encode(self._contents())

    def _contents(self) -> Contents:
        from livepatch.bundle.codec import Contents

        edits, left = _with_attachments(self.edits, self._changes)
        in_code = [f"a change of {place}" for change in left for place in sorted(places_of(change))]
        in_code += [f"a {moment} callback" for moment in self._callbacks]
        in_code += [f"migration {migration}" for migration in self.migrations]
        in_code += ["a round trip with functions or values" for each in self.round_trips if each.in_code]
        in_code += [
            "an example of stored data, or a function that loads it," for each in self.snapshots if each.in_code
        ]
        if in_code:
            raise BundleError(
                f"patch {self.id} cannot be written into a file",
                found=f"{in_code[0]}, written in code",
                expected="a patch built from two source trees: a file holds no live objects",
                action="build it with livepatch.build, or apply it from code",
            )
        contents = Contents(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Contents)})
        return dataclasses.replace(contents, edits=tuple(edits.values()))

    def pre_apply(self, function: C) -> C:
        """Decorate what is called, with nothing, before the patch goes in.  The only one that can veto, by raising.

        Whatever keeps the patch out after it, ``post_revert`` is called to undo what this one did.
        """
        return self._callback("pre_apply", function)

    def post_apply(self, function: C) -> C:
        """Decorate what is called, with nothing, when the patch is in and no call is left on the old side."""
        return self._callback("post_apply", function)

    def pre_revert(self, function: C) -> C:
        """Decorate what is called, with nothing, before the patch goes out, if ``post_apply`` had its turn.

        What it raises is logged, and the revert goes on.
        """
        return self._callback("pre_revert", function)

    def post_revert(self, function: C) -> C:
        """Decorate what is called, with nothing, when the patch is out and no call is left on its side."""
        return self._callback("post_revert", function)

    def _callback(self, moment: str, function: C) -> C:
        if not callable(function):
            raise TypeError(f"{moment} must be a function without parameters, not {spelled(function)}")
        if inspect.iscoroutinefunction(function):
            raise TypeError(f"{moment} must be a plain function: there may be no event loop to run a coroutine")
        if moment in self._callbacks:
            raise PatchError(
                f"patch {self.id} has two {moment} callbacks",
                found="a second one",
                expected="one for each moment",
                action="call both from one function",
            )
        self._callbacks[moment] = function
        return function

    def replace(
        self, target: str, *, expect: str | Iterable[str] | None = None, pure: bool = False
    ) -> Callable[[T], T]:
        """Decorate the function, or the class body, that takes the place of the one at `target`.

        The replacement's names mean what they mean in the target's module.  `expect` is a fingerprint
        (see :func:`livepatch.fingerprint`) or several, for several interpreters; the live code must have one.
        `pure` declares that both sides change nothing and depend on nothing but their arguments: only such functions
        can be run in shadow.  The decorated object is given back unchanged.
        """
        where = Target.parse(target)
        pins = pins_of(expect)
        if not isinstance(pure, bool):
            raise TypeError(f"pure must be True or False, not {spelled(pure)}")

        def register(source: T) -> T:
            check_source(source)
            self._add(Replacement(where, source, pins, pure))
            return source

        return register

    def add(self, owner: str, /, **names: object) -> None:
        """Add new `names` to the module or class `owner`.  Names that exist already are refused at check."""
        where = Target.parse(owner, argument="owner", owner=True)
        check_names(names, f"add({spelled(owner)})", "LIMIT=4096")
        self._add(Addition(where, MappingProxyType(dict(names))))

    def shadow(self, owner: str, /, **names: object) -> None:
        """Give all objects of the class `owner` new attributes, as if ``__init__`` had set each to its default.

        A callable default is a factory that makes each object its own value when that is first read: called with
        nothing, or, a plain function of one parameter, with the object.  Any other value serves all.  What an object
        holds itself is read past it.  A revert takes away what was attached (docs/state.md).  In a file of a built
        patch go those in modules that it changes whose default is a plain value or a builtin type.
        """
        where = Target.parse(owner, argument="owner")
        check_names(names, f"shadow({spelled(owner)})", "seen=set")
        for name, default in names.items():
            check_default(name, default)
        self._add(Attachment(where, MappingProxyType(dict(names))))

    def set(self, target: str, value: object) -> None:
        """Give the module or class attribute at `target` another `value`, and so its proven aliases."""
        self._add(Assignment(Target.parse(target), value))

    def wrap(self, target: str) -> Callable[[T], T]:
        """Decorate a wrapper for a callable without Python code (C, Rust, Cython).

        The wrapper is called as ``wrapper(wrapped, instance, args, kwargs)``, as by ``wrapt``.
        """
        where = Target.parse(target)

        def register(wrapper: T) -> T:
            if not callable(wrapper):
                raise TypeError(
                    f"wrapper must be callable as (wrapped, instance, args, kwargs), not {spelled(wrapper)}"
                )
            check_wrapper(wrapper)
            self._add(Wrapping(where, wrapper))
            return wrapper

        return register

    def migrate(
        self,
        name: str,
        version: int,
        up: Callable[..., object],
        down: Callable[..., object] | None,
        check: Callable[..., object] | None = None,
        objects: Iterable[object] | Callable[[], Iterable[object]] | None = None,
        lazy: bool = False,  # the order is part of the contract
        *,
        of: type | tuple[type, ...] | None = None,
        follows: int | Iterable[int] | None = None,
        budget: float = 0.1,
        checkpoint: Checkpoint | tuple[Callable[..., object], Callable[..., object]] | None = None,
        touches: Touches | Mapping[str, Iterable[str]] | None = None,
        durable: bool = False,
        loop: object = None,
    ) -> None:
        """Take the state `name` to `version` along with the code: `up` leads there, `down` back.

        `objects` gives what is to change: ``up(obj)`` is called for each, once, and ``down(obj)`` for each in reverse
        order when the patch is taken out or switched off.  A function that gives them is asked again for those that
        come meanwhile.  Without objects ``up()`` and ``down()`` are called once; as generator functions they may yield
        where others may go on.  ``check`` says whether what it is given has the new form, and is asked after each `up`.
        `up` must leave alone what has the new form already.

        The work is done before the switch, in slices of `budget` milliseconds: here, or if `loop` is an asyncio event
        loop (or a function that gives it) there, between other tasks.  With `lazy`, an object is taken up when it is
        first given to a replaced function: every object of the classes `of` (default: those of the replaced methods),
        or those in `objects` only.

        A version that is in force already is not made again, a lower one is refused, and so is one from which `up` does
        not know the way: it `follows` the version before, unless others are named.  `checkpoint` saves what `up` will
        change, a pair of functions or a :class:`livepatch.Checkpoint`.  `touches` declares what the migration does to
        which attributes, and it is held to that (:class:`livepatch.Touches`).  `durable`: what `up` changes outlives
        the process, such as a file; then every step is written down in the directory that :func:`livepatch.recover` was
        given.  ``docs/state.md`` says all of it.

        Raises :class:`PatchError` or :class:`TypeError`, each naming the argument.
        """
        made = migration_of(
            name,
            version,
            up,
            down,
            check,
            objects,
            lazy,
            of=of,
            follows=follows,
            budget=budget,
            checkpoint=checkpoint,
            touches=touches,
            durable=durable,
            loop=loop,
        )
        last = next((each for each in reversed(self.migrations) if each.name == made.name), None)
        if last is not None and last.version >= made.version:
            raise PatchError(
                f"patch {self.id} takes state {made.name} to version {made.version} after {last.version}",
                found="versions that do not rise",
                expected="each version once, in the order in which they are made",
                action="give this migration a higher version, or register it first",
            )
        self.migrations = (*self.migrations, made)

    def waive(self, target: str, *, reason: str) -> None:
        """Say that no protected code calls `target`, whatever names make it seem so, and why.

        It lifts a refusal for calls that are possible only, never one for a certain call, and the report shows it.
        Raises :class:`PatchError` or :class:`TypeError`.
        """
        where = check_target(str(Target.parse(target)))
        if any(waiver.target == where for waiver in self.waivers):
            raise PatchError(
                f"patch {self.id} waives {where} twice",
                found="a second time",
                expected="one reason",
                action="leave one of the two out",
            )
        self.waivers = (*self.waivers, Waiver(target=where, reason=check_reason(reason)))

    def round_trip(
        self,
        encode: str | Callable[..., object],
        decode: str | Callable[..., object],
        values: str | Iterable[object],
    ) -> None:
        """Have `apply` prove, before anything is live, that either side decodes what the other encodes.

        `encode` and `decode` are functions of one argument, or ``"module:name"`` of such; `values` are up to 1000
        examples for `encode`, or ``"module:name"`` of a list of them, or of a function that gives them.  Only names
        can be written into a patch file.  Raises :class:`PatchError` or :class:`TypeError`, each naming the argument.
        """
        self.round_trips = (*self.round_trips, round_trip_of(encode, decode, values))

    def snapshot(
        self,
        load: str | Callable[..., object],
        examples: str | Iterable[object],
        store: str | Callable[..., object] | None = None,
        *,
        rollback: bool = False,
    ) -> None:
        """Have `apply` prove, before anything is live, that both sides read the data that is there already.

        `load` and `store` are functions of one argument, or ``"module:name"`` of such; `store` gives what `load` takes.
        `examples` are up to 1000 values for `load`, such as the bytes of a snapshot; of a :class:`pathlib.Path` the
        bytes of the file, read now; or ``"module:name"`` of a list of them, or of a function that gives them.  Both
        sides must load the same from an example, and from what the old side stores.  `rollback` promises that the patch
        may be taken out again: the old side must load what the new one stores.  Only names can be written into a patch
        file.  Raises :class:`PatchError` or :class:`TypeError`, each naming the argument.
        """
        self.snapshots = (*self.snapshots, snapshot_of(load, examples, store, rollback))

    def probe(self, name: str, source: str | Path, *, safe: bool = False) -> None:
        """Carry a regression probe, which :func:`livepatch.probe` runs: to find the hole open before, and closed after.

        `source` is Python source text, or a :class:`pathlib.Path` of which the text is read now.  It is a module of its
        own that defines ``vulnerable()``: without parameters, ``True`` if the hole is open and ``False`` if not.  It
        runs in a scratch process; `safe` declares that it may run in a process that is in use.  Its source is under
        embargo, its `name` is not.  Nothing is run now.  Raises :class:`PatchError` or :class:`TypeError`, which quote
        nothing of the source.
        """
        made = probe_of(name, source, safe)
        if any(probe.name == made.name for probe in self.probes) or len(self.probes) >= MOST:
            raise PatchError(
                f"patch {self.id} cannot carry probe {made.name}",
                found="a probe of that name already" if len(self.probes) < MOST else f"{MOST} probes already",
                expected=f"up to {MOST} probes, each with a name of its own",
                action="give it another name, or leave one out",
            )
        self.probes = (*self.probes, made)

    def __repr__(self) -> str:
        changes = [*self._changes, *self.edits]
        return f"<livepatch.Patch {self.id} for {self.package} {self.versions}, {counted(len(changes), 'change')}>"

    def _add(self, change: Change) -> None:
        taken = {place for other in self._changes for place in places_of(other)}
        twice = taken & places_of(change)
        if twice:
            raise PatchError(
                f"patch {self.id} changes {min(twice)} twice",
                found="two changes of one target",
                expected="one change a target",
                action="put both into one replacement",
            )
        self._changes.append(change)


def _with_attachments(
    edits: tuple[ModuleEdit, ...], changes: Iterable[Change]
) -> tuple[dict[str, ModuleEdit], list[Change]]:
    """The edits by module, with the attributes declared in code that can be written down; and all other changes."""
    by_module = {edit.module: edit for edit in edits}
    left: list[Change] = []
    for change in changes:
        edit = by_module.get(change.owner.module) if isinstance(change, Attachment) else None
        new = written_attributes(change.owner.qualname, change.names) if isinstance(change, Attachment) else ()
        if edit is None or edit.whole is not None or not new:
            left.append(change)
        else:
            by_module[edit.module] = dataclasses.replace(edit, attributes=(*edit.attributes, *new))
    return by_module, left
