"""The documents tell the truth: what they show runs, what they list is complete, where they point there is something.

A comment before a fenced block says what the block is:

* ``<!-- file: NAME -->``: it is written to NAME, beside the files of examples/first_patch and, in a folder of its name,
  examples/built_patch;
* ``<!-- run -->``: it is run there, in a process of its own, and ends with status 0;
* ``<!-- output: NAME -->``: it is what running the file NAME prints, but for a report's ``info:`` lines, which differ
  between interpreters;
* ``<!-- shell -->``: a shell runs it there, and each of its commands ends with status 0;
* ``<!-- prints -->``: these are lines that the shell before it has printed, in this order; ``…`` stands for anything.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.docs.documents import (
    BUILT_PATCH,
    DOCUMENTS,
    FIRST_PATCH,
    GUIDES,
    IN_A_SHELL,
    ROOT,
    RUNNABLE,
    SOURCE,
    Block,
    blocks,
    name_of,
)
from tests.sharing import in_turn

import livepatch

# Most of what an example takes is the import of livepatch, so a process that has it forks one for each.
ONE_AFTER_ANOTHER = """\
import os, runpy, sys
import livepatch
livepatch.apply, livepatch.build, livepatch.check, livepatch.load
for script in sys.argv[1:]:
    child = os.fork()
    if not child:
        sys.argv[:] = [script]
        sys.path[0] = os.getcwd()
        runpy.run_path(script, run_name="__main__")
        sys.exit()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        sys.exit(f"{script} ended with status {status}")
"""


def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )


def without_information(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("  info: "))


@pytest.fixture
def folder(tmp_path):
    target = tmp_path / "first_patch"
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(FIRST_PATCH, target, ignore=unwanted)
    shutil.copytree(BUILT_PATCH, target / "built_patch", ignore=unwanted)
    plugins = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"][
        "pytest11"
    ]
    installed = target / "installed-1.0.dist-info"  # as pip would have installed the plugin
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: installed\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("\n".join(["[pytest11]", *(f"{k} = {v}" for k, v in plugins.items())]))
    return target


@pytest.mark.parametrize(
    "document", in_turn(each for each in RUNNABLE if each not in [*IN_A_SHELL, *GUIDES]), ids=name_of
)
def test_what_a_document_shows_runs_and_prints_what_it_says(document, folder):
    for what, group in itertools.groupby(blocks(document), lambda block: block.what):
        if what == "run":
            run_all(document, folder, list(group))
            continue
        for block in group:
            path = folder / block.name
            if what == "file":
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, encoding="utf-8")
                continue
            done = run(folder, block.name)
            assert done.returncode == 0, f"{name_of(document)}:{block.line}\n{done.stdout}{done.stderr}"
            assert without_information(done.stdout) == block.text


def run_all(document: Path, folder: Path, group: list[Block]) -> None:
    scripts = [f"{document.stem}_line_{block.line}.py" for block in group]
    for script, block in zip(scripts, group, strict=True):
        (folder / script).write_text(block.text, encoding="utf-8")
    done = run(folder, "-c", ONE_AFTER_ANOTHER, *scripts)
    assert done.returncode == 0, f"{name_of(document)}\n{done.stdout}{done.stderr}"


def test_the_readme_shows_the_examples_that_lie_ready():
    shown = {block.name: block.text for block in blocks(ROOT / "README.md") if block.what == "file"}
    assert set(shown) == {
        "nodeclient/mempool.py",
        "nodeclient-2.1.0.dist-info/METADATA",
        "fixes.py",
        "node.py",
        "built_patch/node.py",
    }
    for name, text in shown.items():
        lies = FIRST_PATCH.parent / name if name.startswith("built_patch/") else FIRST_PATCH / name
        assert lies.read_text(encoding="utf-8") == text, name


def test_no_marked_block_is_overlooked():
    for document in DOCUMENTS:
        marks = re.findall(r"^<!--.*-->$", document.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(marks) == len(blocks(document)), name_of(document)


# Links


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_every_document_and_every_public_name_is_on_the_site(tmp_path):
    subprocess.run([sys.executable, ROOT / "tools" / "site.py", tmp_path / "site"], check=True)
    reference = (tmp_path / "site" / "reference.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^### livepatch\.(\w+)$", reference, re.MULTILINE)) == sorted(livepatch.__all__)
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [each.relative_to(tmp_path / "site") for each in (tmp_path / "site" / "docs").rglob("*.md")]
    assert [str(each) for each in pages if f" {each}\n" not in navigation] == []


def public(module) -> Iterator[tuple[str, object]]:
    """Each name of a module's ``__all__``, and each public method and property of its classes."""
    for name in module.__all__:
        value = getattr(module, name)
        yield name, value if callable(value) or inspect.ismodule(value) else type(value)
        if inspect.isclass(value):
            for member, held in vars(value).items():
                held = getattr(held, "__func__", held)
                if not member.startswith("_") and (callable(held) or isinstance(held, property)):
                    yield f"{name}.{member}", held


@pytest.mark.parametrize("module", ["", ".node.peers", ".testing", ".health.probes", ".health.logs", ".fleet.onefile"])
def test_every_public_name_is_documented(module):
    found = dict(public(importlib.import_module(f"livepatch{module}")))
    assert found
    undocumented = [name for name, value in found.items() if not (own_docstring(value) or "").strip()]
    assert undocumented == []


def own_docstring(value: object) -> str | None:
    """The docstring of its own, and not one that a base class has."""
    return vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_relative_links_lead_somewhere(document):
    text = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


# The overview


def rooms_named(text: str) -> set[str]:
    """The files that a document names, in its diagrams too, and the folders in backticks, below the source."""
    files = set(re.findall(r"(?<![\w/])(?:[a-z_]+/)*[a-z_]+\.py\b", text))
    folders = set(re.findall(r"`((?:[a-z_]+/)+)`", text))
    return {name for name in files | folders if not name.startswith(("tests/", "tools/"))}


def test_the_rooms_that_the_overview_names_exist_and_no_folder_is_missing_from_it():
    named = rooms_named((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    assert {name for name in named if not (SOURCE / name).exists()} == set()
    folders = {f"{path.parent.relative_to(SOURCE)}/" for path in SOURCE.glob("*/__init__.py")}
    assert folders
    assert folders <= named


def files_by_room(text: str) -> dict[str, set[str]]:
    """The files that the overview's tables name, by room: those are headings, and files have no ending there."""
    sections = re.findall(r"^### `(\w+/)`.*?\n(.*?)(?=^##)", text, re.DOTALL | re.MULTILINE)
    return {room: set(re.findall(r"`(\w+)`", table)) for room, table in sections}


def test_the_files_that_the_overview_s_tables_name_are_in_those_rooms():
    rooms = files_by_room((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    assert rooms.keys() == {f"{path.parent.relative_to(SOURCE)}/" for path in SOURCE.glob("*/__init__.py")}
    for room, files in rooms.items():
        assert files
        assert {file for file in files if not (SOURCE / room / f"{file}.py").is_file()} == set(), room


# What the threat model says that livepatch never does


NEVER = {
    "asyncio.subprocess", "http", "logging", "marshal", "multiprocessing", "pickle", "shelve", "socket", "ssl",
    "subprocess", "tempfile", "urllib",
}  # fmt: skip
# The exceptions, as the document says: pip is run, a command that signs, and scratch processes.
START_PROCESSES = {
    SOURCE / "bundle" / "trees.py",
    SOURCE / "bundle" / "command.py",
    SOURCE / "replaying" / "scratch.py",
    SOURCE / "replaying" / "folders.py",
}
# And the control socket, at both ends.
OPEN_SOCKETS = {SOURCE / "node" / each for each in ("control.py", "connection.py", "client.py")}
# And what trusts a fleet's server, and what serves pages.
SERVE_FLEETS = {SOURCE / "fleet" / "opening.py", SOURCE / "pages" / "serving.py"}
# And what asks an endpoint of metrics, and what counts log records.
FETCH_METRICS = {SOURCE / "integrations" / "prometheus.py"}
COUNT_LOGS = {SOURCE / "health" / "logs.py"}


def test_what_livepatch_never_does_it_does_not_even_import():
    imported: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        if path in START_PROCESSES | OPEN_SOCKETS | SERVE_FLEETS | FETCH_METRICS | COUNT_LOGS:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module)
    assert {name for name in imported if name in NEVER or name.partition(".")[0] in NEVER} == set()
