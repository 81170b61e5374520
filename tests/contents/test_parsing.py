"""Texts become syntax while other threads parse, too: CPython before 3.11.8 and 3.12.2 may fail then (gh-106905)."""

from __future__ import annotations

import ast
import gc
import re
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest

import livepatch
from livepatch.contents import parsing
from livepatch.contents.parsing import compiled, copy_of, tree_of, undisturbed

SOURCE = Path(livepatch.__file__).parent


def test_it_gives_what_ast_gives():
    assert ast.dump(tree_of("x = 1\n")) == ast.dump(ast.parse("x = 1\n"))
    assert ast.literal_eval(tree_of("[1, 'a']", mode="eval")) == [1, "a"]
    with pytest.raises(SyntaxError) as caught:
        tree_of("x = (", "there.py")
    assert caught.value.filename == "there.py"


def test_a_copy_says_the_same_and_shares_no_node_that_can_be_changed():
    tree = tree_of(
        (SOURCE / "engine" / "code.py").read_text() + "def f(*, a, b=1): global x; return f'{a!r:>{b}}', None\n"
    )
    copied = copy_of(tree)
    assert ast.dump(copied, include_attributes=True) == ast.dump(tree, include_attributes=True)
    nodes = {id(node) for node in ast.walk(tree) if node._fields}
    assert not nodes & {id(node) for node in ast.walk(copied)}
    before = ast.dump(tree)
    for node in ast.walk(copied):
        for value in vars(node).values():
            if isinstance(value, list):
                value.clear()
    assert ast.dump(tree) == before


def test_what_the_process_makes_of_warnings_does_not_matter():
    text = "def f(x): return x is 1, '\\d'\n"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SyntaxError):
            ast.parse(text)
        code = compiled(tree_of(text), "there.py")
        with pytest.raises(SyntaxError, match="never closed"):
            tree_of("x = (")
        assert warnings.filters[0][0] == "error"
    assert code.co_filename == "there.py"


def test_what_other_threads_disturb_is_done_again():
    tries = iter([SystemError("AST constructor recursion depth mismatch"), SystemError("again"), None])

    def make() -> str:
        if (error := next(tries)) is not None:
            raise error
        return "made"

    assert undisturbed(make) == "made"


def test_what_fails_each_time_fails_in_the_end(monkeypatch):
    monkeypatch.setattr(parsing, "_NAP", 0.0)
    tried = []

    def make() -> None:
        tried.append(1)
        raise SystemError("for another reason")

    with pytest.raises(SystemError, match="another reason"):
        undisturbed(make)
    assert 1 < len(tried) < 100


def test_nothing_else_of_the_house_makes_trees():
    found = [
        f"{path.relative_to(SOURCE)}: {line.strip()}"
        for path in SOURCE.rglob("*.py")
        if path.name != "parsing.py"
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\bast\.parse\b|ONLY_AST", line) and "undisturbed(" not in line and "compiled(" not in line
    ]
    assert found == []


@pytest.mark.slow
def test_threads_that_parse_do_not_disturb_each_other():
    text = "\n".join(f"def f{n}(a, b=({n}, [1, (2, 3)])):\n    return [x + a for x in b if x]" for n in range(300))
    whole = ast.dump(ast.parse(text))
    switches = [0]

    def switch(phase: str, info: dict[str, int]) -> None:
        switches[0] += 1
        time.sleep(0)  # as a probe does, or whatever else hears of collections

    errors: list[BaseException] = []
    end = time.monotonic() + 4

    def parsing_at(depth: int) -> None:
        def deep(left: int) -> ast.Module:
            return deep(left - 1) if left else tree_of(text)

        try:
            while time.monotonic() < end:
                assert ast.dump(deep(depth)) == whole
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=parsing_at, args=(depth,)) for depth in (0, 10, 20)]
    before = gc.get_threshold()
    gc.callbacks.append(switch)
    gc.set_threshold(50)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gc.callbacks.remove(switch)
        gc.set_threshold(*before)
    assert errors == [], sys.version
    assert switches[0]
