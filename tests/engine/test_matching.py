"""The bars of run-pre matching: every function matches its own text, and every single change is noticed.

The long forms run over the whole standard library; ``benchmarks/run_pre.py`` adds packages from PyPI.
"""

from __future__ import annotations

import random
import sysconfig
import tokenize
import types
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.mutants import File, file_of, try_one

from livepatch.contents.edits import Text
from livepatch.engine.matching import Context, matches

STDLIB = Path(sysconfig.get_paths()["stdlib"])
SOME = """
    abc argparse ast asyncio.base_events asyncio.tasks bdb bisect codecs collections concurrent.futures.thread
    configparser contextlib copy csv ctypes dataclasses decimal difflib email.message enum fractions functools heapq
    http.client inspect json.decoder logging mailbox multiprocessing.pool numbers pathlib pickle random selectors shelve
    socket ssl statistics string subprocess tarfile threading tokenize typing unittest.mock urllib.request uuid weakref
    xml.dom.minidom zipfile
""".split()  # fmt: skip


def read(path: Path) -> File | None:
    try:
        with tokenize.open(path) as file:
            source = file.read()
    except (SyntaxError, UnicodeDecodeError):
        return None
    return file_of(str(path), source)


@pytest.fixture(scope="module")
def some_files() -> list[File]:
    places = [STDLIB.joinpath(*name.split(".")) for name in SOME]
    paths = [path for place in places for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()]
    files = [read(path) for path in paths]
    return [file for file in files if file is not None]


def all_files() -> Iterator[File]:
    for path in sorted(STDLIB.rglob("*.py")):
        if "site-packages" not in path.parts and "test" not in path.parts:
            file = read(path)
            if file is not None:
                yield file


def unmatched(file: File) -> list[str]:
    return [
        f"{file.path}: {mismatch}"
        for function in file.functions
        if function.code is not None
        and (mismatch := matches(function.code, file.context, function.qualname, function.text)) is not None
    ]


def changes(files: list[File], count: int) -> None:
    rng = random.Random(20)
    tried: Counter[str] = Counter()
    exact = 0
    while tried.total() < count:
        file = rng.choice(files)
        functions = [function for function in file.functions if function.code is not None]
        for function in rng.sample(functions, min(4, len(functions))):
            outcome = try_one(file, function, rng)
            if outcome is None or (outcome.caught is None and outcome.why):
                continue  # no program, or shown to be the same one
            assert outcome.caught, (file.path, function.qualname, outcome.site)
            tried[outcome.site.kind] += 1
            exact += outcome.exact
    assert set(tried) == {"operator", "constant", "name", "default"}
    assert exact >= 0.98 * tried.total()  # the line told is one of the statement that was changed


def test_functions_of_the_standard_library_match_their_text(some_files: list[File]):
    assert [line for file in some_files for line in unmatched(file)] == []
    assert sum(len(file.functions) for file in some_files) > 2000


def test_single_changes_are_noticed(some_files: list[File]):
    changes(some_files, 200)


@pytest.mark.slow
def test_every_function_of_the_standard_library_matches_its_text():
    count = 0
    for file in all_files():
        assert unmatched(file) == []
        count += len(file.functions)
    assert count > 10_000


@pytest.mark.slow
def test_a_thousand_single_changes_are_noticed():
    files = list(all_files())
    changes(random.Random(1).sample(files, 300), 1000)


def test_what_does_not_compile_here_is_a_mismatch_at_its_line():
    def f() -> int:
        return 1

    text = Text(source="def f():\n    return (1\n", line=7)
    mismatch = matches(f.__code__, Context((), (), "a.py"), "f", text)
    assert mismatch is not None
    assert mismatch.line == 8
    assert mismatch.what.startswith("line 8 does not compile here: ")


def test_a_generator_that_types_coroutine_marked_still_matches():
    file = file_of("a.py", "def f():\n    yield 1\n")
    assert file is not None
    (function,) = file.functions
    assert function.code is not None
    made = types.coroutine(types.FunctionType(function.code, {}))
    assert made.__code__.co_flags != function.code.co_flags
    assert matches(made.__code__, file.context, "f", function.text) is None


def test_a_process_that_makes_errors_of_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = file_of("a.py", "def f(x):\n    return x is 1, '\\('\n")
        assert file is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (function,) = file.functions
        assert function.code is not None
        assert matches(function.code, file.context, "f", function.text) is None
