"""The pytest plugin: fixtures ``livepatch``, ``livepatch_mode`` and ``livepatch_patch``, and the marker ``livepatch``.

Imports nothing of the library before a fixture is used: every session of pytest loads this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from livepatch.patch import Patch
    from livepatch.testing.guard import Guard

_WORDS = ("off", "on", "split", "transition", "reverted")
_TIMEOUT = "livepatch_timeout"
_MARKER = (
    "livepatch(patch=None, modes=('off', 'on', 'split', 'transition', 'reverted'), **options): run the test once with "
    "the patch in each of the modes; without a patch, that of the fixture livepatch_patch; options are those of apply"
)

_guarded: pytest.StashKey[Guard] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The seconds that a test's calls may take to leave a patch."""
    parser.addini(_TIMEOUT, "seconds within which calls must have left the patches of a test", default="10")


def pytest_configure(config: pytest.Config) -> None:
    """The marker, as ``--strict-markers`` wants it."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def livepatch(request: pytest.FixtureRequest) -> Iterator[Guard]:
    """The library, with an apply() that is taken back at the end of the test; which fails if anything is left."""
    from livepatch.testing.guard import Guard

    guard = Guard(timeout=_seconds(request.config))
    request.node.stash[_guarded] = guard
    yield guard
    _finish(request.node)  # a test that was never called, because another fixture failed


@pytest.fixture
def livepatch_patch() -> Patch:
    """The patch of tests that are marked without one.  Define a fixture of this name."""
    raise pytest.UsageError(
        "a test marked livepatch has no patch; found: no patch= in the marker and no fixture livepatch_patch; "
        "expected: one of them; do: define the fixture livepatch_patch in a conftest.py, or pass patch="
    )


@pytest.fixture
def livepatch_mode(request: pytest.FixtureRequest, livepatch: Guard) -> str:
    """In which mode the test runs, as a word."""
    mark = request.node.get_closest_marker("livepatch")
    if mark is None or not hasattr(request, "param"):
        raise pytest.UsageError(
            "livepatch_mode is for marked tests; found: a test without the marker livepatch; expected: "
            "@pytest.mark.livepatch(patch); do: mark the test, or use the fixture livepatch"
        )
    from livepatch.engine.modes import spelled_mode
    from livepatch.testing.modes import NothingToDrainError, enter

    patch, _, options = _arguments(*mark.args, **mark.kwargs)
    patch = request.getfixturevalue("livepatch_patch") if patch is None else patch
    try:
        enter(livepatch, patch, request.param, **options)
    except NothingToDrainError:
        pytest.skip(f"{patch.id} changes no function, so its switch has no two sides at a time")
    return request.param if request.param in _WORDS else spelled_mode(request.param)


def _arguments(patch: Any = None, modes: Any = _WORDS, **options: Any) -> tuple[Any, Any, dict[str, Any]]:
    return patch, modes, options


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, obj: object) -> None:
    """A marked test function uses the fixture that brings the patch in, whether it names it or not."""
    if isinstance(obj, FunctionType) and (collector.get_closest_marker("livepatch") or _is_marked(obj)):
        pytest.mark.usefixtures("livepatch_mode")(obj)


def _is_marked(function: FunctionType) -> bool:
    marks = getattr(function, "pytestmark", ())
    return any(mark.name == "livepatch" for mark in (marks if isinstance(marks, (list, tuple)) else (marks,)))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each mode of the marker."""
    mark = metafunc.definition.get_closest_marker("livepatch")
    if mark is None:
        return
    try:
        patch, modes, _ = _arguments(*mark.args, **mark.kwargs)
    except TypeError as error:
        pytest.fail(f"@pytest.mark.livepatch: {error}; expected: {_MARKER}", pytrace=False)
    from livepatch.engine.modes import check_mode, spelled_mode
    from livepatch.errors import PatchError
    from livepatch.patch import Patch

    if isinstance(modes, str):
        modes = (modes,)
    try:
        words = [mode if mode in _WORDS else spelled_mode(check_mode(mode)) for mode in modes]
    except (PatchError, TypeError) as error:
        pytest.fail(f"@pytest.mark.livepatch(modes=…): {error}; or one of {', '.join(_WORDS)}", pytrace=False)
    if not words or (patch is not None and not isinstance(patch, Patch)):
        what = f"patch={patch!r:.80}" if words else "no mode"
        pytest.fail(f"@pytest.mark.livepatch; found: {what}; expected: {_MARKER}", pytrace=False)
    metafunc.parametrize("livepatch_mode", list(modes), ids=words, indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A marked test that cannot be run in several modes must not pass as if it had been."""
    callspec = getattr(item, "callspec", None)
    if item.get_closest_marker("livepatch") and (callspec is None or "livepatch_mode" not in callspec.params):
        pytest.fail(
            f"{item.name} is marked livepatch; found: a {type(item).__name__}, which takes no parameters; expected: a "
            "function or a method of a plain class; do: write the test as one, or use the fixture livepatch",
            pytrace=False,
        )


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Take out what a test has applied as a part of the test, so that it fails itself, and not its teardown.

    Inside of what captures output.
    """
    try:
        yield
    except BaseException as error:
        if troubles := _finished(item):
            error.add_note("\n".join(["besides, livepatch is not as before the test:", *troubles]))
        raise
    _finish(item)


def _finished(item: pytest.Item) -> tuple[str, ...]:
    guard = item.stash.get(_guarded, None)
    if guard is None:
        return ()
    del item.stash[_guarded]
    return guard.finish()


def _finish(item: pytest.Item) -> None:
    troubles = _finished(item)
    if troubles:
        from livepatch.testing.guard import not_as_before

        pytest.fail(str(not_as_before(troubles)), pytrace=False)


def _seconds(config: pytest.Config) -> float:
    given = config.getini(_TIMEOUT)
    try:
        return float(given)
    except ValueError:
        raise pytest.UsageError(
            f"{_TIMEOUT}; found: {given!r}; expected: a number of seconds; do: correct it in the configuration"
        ) from None
