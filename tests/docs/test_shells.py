"""What the documents type into a shell ends well, and prints what they say.

The guides below docs/how-to go on from one another, in the order of the site, and so does the runbook.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.docs.at_once import Commands
from tests.docs.documents import BUILT_PATCH, GUIDES, IN_A_SHELL, NODE, ROOT, blocks, name_of


@pytest.mark.slow  # what they start runs on
@pytest.mark.parametrize("document", IN_A_SHELL, ids=name_of)
def test_what_a_document_types_ends_well_and_prints_what_it_says(document, tmp_path):
    shutil.copytree(NODE, tmp_path / "node", ignore=shutil.ignore_patterns("__pycache__"))
    with shells(tmp_path) as typed:
        type_all(document, tmp_path, typed)


@pytest.mark.slow  # what they start runs on
def test_what_the_guides_type_ends_well_and_prints_what_it_says(tmp_path):
    folder = tmp_path / "guides"
    shutil.copytree(BUILT_PATCH, folder / "upstream", ignore=shutil.ignore_patterns("__pycache__", "*.py[co]"))
    with shells(tmp_path, folder) as typed:
        for document in GUIDES:
            type_all(document, folder, typed)


@contextlib.contextmanager
def shells(tmp_path: Path, folder: Path | None = None) -> Iterator[Callable[[str], tuple[int, str]]]:
    """What types a block into a shell, and tells its status and what it printed; what it has left is ended."""
    own = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(tmp_path)}
    groups: list[int] = []

    def typed(text: str) -> tuple[int, str]:
        with (tmp_path / "printed").open("w+") as printed:  # no pipe, which what runs on would hold open
            shell = subprocess.Popen(
                ["/bin/sh", "-e", "-c", text],
                cwd=folder or tmp_path,
                env={**own, "PATH": f"{commands.path}:{os.environ['PATH']}"},
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            groups.append(shell.pid)
            status = shell.wait(timeout=300)
            printed.seek(0)
            return status, printed.read()

    try:
        with Commands(tmp_path / "bin", own) as commands:
            yield typed
    finally:
        for group in groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGTERM)


def type_all(document: Path, folder: Path, typed: Callable[[str], tuple[int, str]]) -> None:
    printed = ""
    for block in blocks(document):
        where = f"{name_of(document)}:{block.line}"
        if block.what == "shell":
            status, printed = typed(block.text)
            assert status == 0, f"{where}\n{printed}"
        elif block.what == "file":
            (folder / block.name).write_text(block.text, encoding="utf-8")
        else:
            assert block.what == "prints", f"{where}: a shell runs the rest of this document"
            missing = not_printed(block.text, printed)
            assert missing == [], f"{where}\n{printed}"


def not_printed(shown: str, printed: str) -> list[str]:
    """The lines of a document that were not printed, in this order; where it has ``…`` there was anything."""
    lines = iter(printed.splitlines())
    wanted = [re.compile(".*".join(map(re.escape, line.split("…")))) for line in shown.splitlines()]
    return [each.pattern for each in wanted if not any(each.fullmatch(line) for line in lines)]


def test_what_is_shown_must_be_printed_in_its_order():
    assert not_printed("a\nc\n", "a\nb\nc\n") == []
    assert not_printed("c\na\n", "a\nb\nc\n") == ["a"]
    assert not_printed("took … ms.\n", "took 12 ms.\n") == []
    assert not_printed("took … ms.\n", "took 12 mss\n") != []
