"""Calls that are made for what they do to objects of other packages' classes: done again, or refused."""
# ruff: noqa: E501  # the sources of small packages, each on a line of its own

from __future__ import annotations

import functools

import pytest
from tests.built import Running

import livepatch


@pytest.fixture
def releases(tmp_path, monkeypatch):
    yield functools.partial(Running, tmp_path, monkeypatch)
    for status in reversed(livepatch.status()):
        livepatch.revert(status.id)


PARSER = "import argparse\nP = argparse.ArgumentParser()\n"
ARGUMENT = "P.add_argument('--n', type=int, default=100)\n"
SEE = "def see(): return vars(P.parse_args([]))\n"
HELD = "import argparse\nclass K:\n  def __init__(self): self.P = argparse.ArgumentParser()\n  def fill(self, n=1): self.P.add_argument('--n', default={})\nk = K()\nk.fill({})\ndef see(): return vars(k.P.parse_args([]))\n"
MADE = "import argparse\ndef make(P):\n  P.add_argument('--n', default=100)\n  return P\n"


def done(name, text, was="100", now="10"):
    assert was in text
    return pytest.param(text, text.replace(was, now), id=name)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        done("an argument", PARSER + ARGUMENT + SEE),
        done("an argument goes", PARSER + ARGUMENT + "P.add_argument('--k')\n" + SEE, "P.add_argument('--k')\n", ""),
        done("from a constant", "A = 100\n" + PARSER + ARGUMENT.replace("100", "A") + SEE),
        done("of a group", PARSER + "G = P.add_argument_group('g')\nG.add_argument('--k', default=100)\n" + SEE),
        done("of what a call gives", PARSER + "P.add_argument_group('g').add_argument('--k', default=100)\n" + SEE),
        done("an attribute of what a call gives", PARSER + "P.add_argument('--k', default=1).default = 100\n" + SEE),
        done(
            "of a command",
            PARSER
            + "S = P.add_subparsers()\nQ = S.add_parser('q')\nQ.add_argument('--k', default=100)\n"
            + SEE.replace("[]", "['q']"),
        ),
        done("in a loop", PARSER + "for k in ('a100', 'b'):\n  P.add_argument('--' + k, default=k)\n" + SEE, "a100", "a10"),
        done("in a block", "import contextlib\n" + PARSER + "with contextlib.suppress(ValueError):\n  " + ARGUMENT + SEE),
        done("of a class of its own", PARSER.replace("P =", "class A(argparse.ArgumentParser): pass\nP =") + ARGUMENT + SEE),
        done("of what a function gives", "import argparse\ndef make(): return argparse.ArgumentParser()\nP = make()\n" + ARGUMENT + SEE),
        done("in a function that is given it", "def fill(p): p.add_argument('--n', default=100)\n" + PARSER + "fill(P)\n" + SEE),
        done("in a function, by keyword", "def fill(*, p): p.add_argument('--n', default=100)\n" + PARSER + "fill(p=P)\n" + SEE),
        done("in a function that finds it", "def fill(): P.add_argument('--n', default=100)\n" + PARSER + "fill()\n" + SEE),
        done("in a function that gives it back", MADE + "P = make(argparse.ArgumentParser())\n" + SEE),
        done("in a function that gives it back, too", MADE + PARSER + "Q = make(P)\n" + SEE),
        done("in a method", HELD.format("100", "")),
        done("what a method is given", HELD.format("n", "100")),
        done("in a class", "import argparse\nclass K:\n  P = argparse.ArgumentParser()\n  P.add_argument('--n', default=100)\ndef see(): return vars(K.P.parse_args([]))\n"),
        done("a table that a function is given", "def fill(t): t['a'] = 100\nT = {}\nfill(T)\ndef see(): return dict(T)\n"),
        done("configparser", "import configparser\nC = configparser.ConfigParser()\nC.add_section('a')\nC.set('a', 'x', '100')\ndef see(): return dict(C['a'])\n"),
        done("queue", "import queue\nQ = queue.Queue()\nQ.put(100)\ndef see(): return list(Q.queue)\n"),
        done("event", "import threading\nE = threading.Event()\nE.set()\ndef see(): return E.is_set()\n", "E.set()", "E.clear()"),
    ],
)  # fmt: skip
def test_a_call_is_done_again(releases, old, new):
    running = releases({"m.py": old}, {"m.py": new})
    restarted = {"__name__": running["m"].__name__}
    exec(new, restarted)
    was, before = running["m"].see(), running.picture()
    shall = restarted["see"]()
    assert shall != was
    fix = running.build()
    assert livepatch.check(fix).ok
    assert running["m"].see() == was
    applied = livepatch.apply(fix)
    assert running["m"].see() == shall
    applied.revert()
    assert running["m"].see() == was
    assert not running.differences(before, running.picture())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        done("it holds what cannot be looked into", "import queue\nQ = queue.SimpleQueue()\nQ.put(100)\n"),
        done("what it has taken in cannot be seen", "import hashlib\nH = hashlib.sha256()\nH.update(b'100')\n"),
        done("a generator of numbers", "import random\nR = random.Random()\nR.seed(100)\n"),
        done("an element", "import xml.etree.ElementTree as E\nR = E.Element('a')\nR.set('k', '100')\n"),
        done("others have it", "import logging\nL = logging.getLogger('x')\nL.setLevel(100)\n"),
    ],
)  # fmt: skip
def test_a_call_that_cannot_be_done_again_is_refused(releases, old, new):
    report = livepatch.check(releases({"m.py": old}, {"m.py": new}).build())
    assert {finding.code for finding in report.errors} <= {"value-differs-from-before", "module-effect-changed"}
    assert not report.ok


def test_an_object_to_which_the_process_has_done_more_is_not_overwritten(releases):
    old = PARSER + ARGUMENT
    running = releases({"m.py": old}, {"m.py": old.replace("100", "10")})
    running["m"].P.set_defaults(n=5)
    report = livepatch.check(running.build())
    assert [finding.code for finding in report.errors] == ["value-differs-from-before"]


def test_a_call_that_only_reads_changes_nothing_and_the_plan_says_so(releases):
    old = "def look(table, n): print(len(table), n)\nT = {}\nlook(T, 100)\n"
    fix = releases({"m.py": old}, {"m.py": old.replace("100", "10")}).build()
    assert {entry.verdict for entry in fix.plan} == {"left-out"}
    assert not fix.edits
