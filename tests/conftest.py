"""What every test shares: targets in real files, a distribution they belong to, and a process left as it was."""

from __future__ import annotations

import importlib
import itertools
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import structlog
from tests.few_modules import ModulesOfATest
from tests.sharing import share_out
from tests.untracking import untrack_bookkeeping, untrack_libraries

import livepatch
from livepatch.engine import pace
from livepatch.process import switching

NewPatch = Callable[[], livepatch.Patch]
WriteModule = Callable[..., ModuleType]
WriteFix = Callable[..., livepatch.Patch]

_numbers = itertools.count(1)


def pytest_configure() -> None:
    """What is started in the background ignores Ctrl-C, and so do its children; tests send it to theirs."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    share_out(items)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    untrack_bookkeeping(session)
    untrack_libraries()


@pytest.fixture(autouse=True)
def nothing_stays_applied() -> Iterator[None]:
    yield
    for status in reversed(livepatch.status()):
        livepatch.revert(status.id)


@pytest.fixture(autouse=True)
def structlog_stays_as_it_was() -> Iterator[None]:
    """Who captures events leaves structlog configured, and a command then writes events elsewhere."""
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def nobody_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside threads that never pause, every switch would rest for seconds.  A test of rests asks for them."""
    monkeypatch.setattr(pace, "REST", 0.0)


@pytest.fixture(autouse=True)
def a_busy_machine_changes_no_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test itself holds of a function's code is told from a call by a walk, which is made however long it is.

    Otherwise a switch on a busy machine would leave that to the drain, and a test would find it still open.
    """
    monkeypatch.setattr(switching, "_SHORT", 60.0)
    monkeypatch.setattr(switching, "_UNNOTICED", 60.0)


@pytest.fixture(autouse=True)
def few_modules(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A switch looks through the modules that the test imports.  A test marked with `all_modules` has them all."""
    if request.node.get_closest_marker("all_modules") is None:
        monkeypatch.setattr("livepatch.process.live.sys", ModulesOfATest(request.module.__name__))


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable folder with an installed distribution called specimen, of version 1.0."""
    metadata = tmp_path / "specimen-1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: specimen\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def write_module(distribution: Path) -> Iterator[WriteModule]:
    """Write a module to a real file and import it: ``write_module(source, name=…)``; a dotted name makes packages."""
    written: list[str] = []

    def write(source: str, name: str = "") -> ModuleType:
        name = name or f"specimen_{next(_numbers)}"
        folder = distribution
        for package in name.split(".")[:-1]:
            folder = folder / package
            folder.mkdir(exist_ok=True)
            (folder / "__init__.py").touch()
            written.append(".".join(folder.relative_to(distribution).parts))
        (folder / f"{name.rpartition('.')[2]}.py").write_text(textwrap.dedent(source), encoding="utf-8")
        importlib.invalidate_caches()
        written.append(name)
        return importlib.import_module(name)

    yield write
    for name in written:
        sys.modules.pop(name, None)


@pytest.fixture
def new_patch(distribution: Path) -> NewPatch:
    """An empty patch for the specimen distribution, with an id of its own."""
    return lambda: livepatch.Patch(f"FIX-{next(_numbers)}", package="specimen", versions="==1.0")


@pytest.fixture
def write_fix(write_module: WriteModule, new_patch: NewPatch) -> WriteFix:
    """A patch in a module of its own, as an author would write it: ``write_fix(target, replacement, above=…)``.

    In `replacement` ``@replace`` stands for the decorator; without one it comes first.
    """

    def write(target: str, replacement: str, above: str = "") -> livepatch.Patch:
        decorator = f"@fix.replace({target!r})"
        body = textwrap.dedent(replacement).strip()
        body = body.replace("@replace", decorator) if "@replace" in body else f"{decorator}\n{body}"
        made = f"fix = livepatch.Patch({new_patch().id!r}, package='specimen', versions='==1.0')"
        fix = write_module("\n".join(["import livepatch", textwrap.dedent(above).strip(), made, body, ""])).fix
        assert isinstance(fix, livepatch.Patch)
        return fix

    return write
