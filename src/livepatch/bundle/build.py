"""Two source trees -> the smallest patch."""

from __future__ import annotations

import gc
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from livepatch.bundle.edit import attached_by, edits_of
from livepatch.bundle.plan import Plan
from livepatch.bundle.pure import declared_pure, texts_of
from livepatch.bundle.trees import Tree, open_tree
from livepatch.contents.edits import Needs
from livepatch.contents.embargo import Embargo
from livepatch.contents.ownership import NOBODY, Owners
from livepatch.contents.probes import Probe
from livepatch.errors import BundleError, spelled
from livepatch.events import emit
from livepatch.govern.recording import note
from livepatch.patch import Patch

__all__ = ["build"]


def build(
    old: str | Path,
    new: str | Path,
    *,
    package: str,
    only: Iterable[str] | None = None,
    id: str | None = None,  # noqa: A002  # the word that advisories use
    versions: str | None = None,
    summary: str = "",
    flag: str | None = None,
    compatible_with: str = "",
    pure: Iterable[str] = (),
    owners: Owners | Mapping[str, str] = NOBODY,
    embargo: Embargo | None = None,
    probes: Iterable[Probe] = (),
) -> Patch:
    """Make the smallest patch that turns a process that runs the tree `old` into one that runs `new`.

    Each tree is a directory (unpacked, or of ``pip install --target``), a wheel, an sdist, or ``name==version``, which
    pip downloads.  `package` is the name of the distribution; `versions` (a PEP 440 specifier; default: the very
    version of `old`) says which releases the patch is for.  `only` picks what is taken (``"module:qualname"``,
    ``"module"`` or a pattern of qualified names) along with what that uses and `old` lacks; else all that changed is
    taken, apart from versions, tests and the like.  `id` (default: made of the package and both versions), `summary`,
    `flag` and `compatible_with` are those of :class:`Patch`.  ``patch.plan`` says what became of each difference,
    ``patch.obstacles`` what cannot be done live.  `pure` names functions (``"module:qualname"``) of which both sides
    change nothing and depend on nothing but their arguments, so that the mode ``"shadow"`` may run them twice: no
    source tells that for sure, and who has read both sides answers for it.  `owners` are those of :class:`Patch`,
    `embargo` is what nobody is told before a date (:class:`livepatch.Embargo`), and `probes` show that the hole is
    there without the patch and is not with it (:class:`livepatch.Probe`).

    Reads the trees; imports and runs nothing of them.  The same trees give the same patch.

    Raises :class:`BundleError` if a tree cannot be used, :class:`PatchError` if the patch would have no right name, a
    name in `only` picks nothing or one in `pure` is no function that the patch replaces, and :class:`TypeError` for an
    `only` or `pure` that is a string.  Whatever is raised, nothing in the process has changed.
    """
    if isinstance(only, str):
        raise TypeError("only must be a list of names, such as ['package.module:Class.method'], not a str")
    declared = texts_of("pure", pure)
    carried = _probes_in(probes)
    begun = time.perf_counter()
    before, after = open_tree(old, package), open_tree(new, package)
    versions = _versions(package, versions, before, old)
    name = id if id is not None else _identity(package, before.version, after.version)
    patch = Patch(
        name,
        package=package,
        versions=versions,
        summary=summary,
        flag=flag,
        compatible_with=compatible_with,
        owners=owners,
    )
    patch.embargo = embargo
    for probe in carried:
        patch.probe(probe.name, probe.source, safe=probe.safe)
    with _without_collection(), _within_bounds():
        plan = Plan(before, after, None if only is None else tuple(only))
        patch.needs = Needs(
            python=after.metadata.requires_python,
            before=before.metadata.requires,
            after=after.metadata.requires,
        )
        patch.edits = edits_of(plan)
        patch.obstacles = plan.obstacles()
        patch.plan = plan.entries(attached_by(patch.edits))
        plan.library.forget()
        del plan
    patch.pure = declared_pure(declared, patch.edits)
    verdicts = Counter(entry.verdict for entry in patch.plan)
    told: dict[str, Any] = {
        "modules": len(patch.edits),
        "obstacles": len(patch.obstacles),
        "taken": verdicts["taken"],
        "needed": verdicts["needed"],
        "left_out": verdicts["left-out"],
        "total_ms": round((time.perf_counter() - begun) * 1e3, 1),
    }
    note("built", patch, **told)
    emit("built", patch=patch.id, **told)
    return patch


def _probes_in(probes: object) -> tuple[Probe, ...]:
    if isinstance(probes, (str, Probe)) or not isinstance(probes, Iterable):
        raise TypeError(f"probes must be a list of livepatch.Probe, not {spelled(probes)}")
    given = tuple(probes)
    for probe in given:
        if not isinstance(probe, Probe):
            raise TypeError(f"probes must hold livepatch.Probe, not {spelled(probe)}")
    return given


@contextmanager
def _without_collection() -> Iterator[None]:
    """Syntax trees are millions of objects and no garbage: looking through them again and again doubles the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _within_bounds() -> Iterator[None]:
    """Refuse sources, perhaps hostile ones, that are nested more deeply than the interpreter can follow."""
    try:
        yield
    except (RecursionError, MemoryError) as error:
        raise BundleError(
            "the trees cannot be compared",
            found=f"{type(error).__name__}: expressions or statements nested too deeply, or a source too large",
            expected="source that can be followed within the interpreter's limits",
            action="leave the file out of both trees, and change what it does by hand",
        ) from None


def _versions(package: str, versions: str | None, before: Tree, origin: object) -> str:
    if versions is not None:
        return versions
    if before.version is None:
        raise BundleError(
            "the old tree does not say which version it is",
            found=f"no metadata of {package} in {origin}",
            expected="METADATA, PKG-INFO, or a version in pyproject.toml",
            action="give versions=, such as '==1.2.3'",
        )
    return f"=={before.version}"


def _identity(package: str, old: str | None, new: str | None) -> str:
    text = f"{package}-{old or 'old'}-to-{new or 'new'}"
    return re.sub(r"[^A-Za-z0-9._:+-]+", "-", text)[:128]
