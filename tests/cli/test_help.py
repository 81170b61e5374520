"""Each command says what it is for, gives an example that it understands, and says what its end means."""

from __future__ import annotations

import argparse
import re
import runpy
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from livepatch.cli.main import parser

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "man" / "livepatch.1"
MANUAL = runpy.run_path(str(ROOT / "tools" / "manpage.py"))
WHOLE = parser()
COMMANDS = {each.words: each.parser for each in MANUAL["commands"](WHOLE, "livepatch")}


@pytest.mark.parametrize("words", COMMANDS)
def test_it_says_what_it_takes(words):
    own = COMMANDS[words]
    assert own.description
    for action in own._actions:
        assert action.help or isinstance(action, argparse._SubParsersAction), action.dest


@pytest.mark.parametrize("words", [words for words in COMMANDS if words.count(" ") == 1])
def test_it_gives_an_example_that_it_understands_and_says_what_its_end_means(words):
    told = COMMANDS[words].format_help()
    assert re.search(r"^exit status:\n  0  ", told, re.MULTILINE)
    example = re.search(r"^for example:\n(.*?)\n\n", told, re.MULTILINE | re.DOTALL)
    assert example
    lines = [line for line in example[1].replace("\\\n", "").splitlines() if line]
    assert lines
    for line in lines:
        _, *given = shlex.split(line)
        assert WHOLE.parse_args(given).name == words.split()[1]


def test_the_manual_page_is_that_of_this_command_line():
    assert PAGE.read_text(encoding="utf-8") == MANUAL["page"](), "make man"


def test_the_manual_page_names_every_command_and_every_option():
    text = PAGE.read_text(encoding="utf-8").replace(r"\-", "-")
    sections = dict(re.findall(r'^\.SS "(.*?)"\n(.*?)(?=^\.S[SH] )', text, re.MULTILINE | re.DOTALL))
    assert list(sections) == list(COMMANDS)
    for words, own in COMMANDS.items():
        options = {name for action in own._actions for name in action.option_strings} - {"-h", "--help"}
        assert {name for name in options if rf"\fB{name}\fR" not in sections[words]} == set(), words


def test_what_troff_would_obey_is_escaped():
    own = argparse.ArgumentParser(prog="x", description=".SH not\n'it is' a \\fBmacro\\fR")
    described = list(MANUAL["_text"](own.description))
    assert described == [r"\&.SH not", r"\(aqit is\(aq a \efBmacro\efR"]


@pytest.mark.slow  # it builds one
def test_the_page_is_in_the_wheel(tmp_path):
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as held:
        (name,) = [name for name in held.namelist() if name.endswith(".data/data/share/man/man1/livepatch.1")]
        assert held.read(name) == PAGE.read_bytes()
