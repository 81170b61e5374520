"""Which way a fix should go: facts that are measured, facts that are declared, and the criteria that decide."""

from __future__ import annotations

import os

import pytest

import livepatch
from livepatch.contents.words import CLASSES
from livepatch.errors import PolicyError
from livepatch.govern.classification import classified
from livepatch.govern.criteria import WORDS, default_criteria, read_criteria
from livepatch.govern.risk import Fact, Risk, _differing, _lines
from livepatch.govern.severity import severity_of

HIGH = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"
LOW = "CVSS:3.1/AV:L/AC:H/PR:H/UI:R/S:U/C:N/I:N/A:L/E:U"


def risk(**values):
    known = {
        "fits": "yes", "cvss": 7.5, "exploitability": "none", "exposure": "network", "consensus": "none",
        "state": "none", "places": 1, "lines": 4, "reach": 3, **values,
    }  # fmt: skip
    return Risk(**{name: Fact(value, "a test") for name, value in known.items()})


def decided(criteria=None, **values):
    return classified("FIX-1", "specimen", "==1.0", risk(**values), criteria or default_criteria())


@pytest.mark.parametrize(
    ("values", "decision", "by"),
    [
        ({}, "hot-patch", []),
        ({"fits": "no"}, "full-update", ["does-not-fit"]),
        ({"cvss": 3.9}, "full-update", ["can-wait"]),
        ({"cvss": 3.9, "exploitability": "active"}, "hot-patch", []),
        ({"cvss": 4.0}, "hot-patch", []),
        ({"state": "irreversible"}, "full-update", ["irreversible"]),
        ({"state": "reversible"}, "hot-patch-with-quorum", ["data"]),
        ({"state": "attached"}, "hot-patch", []),
        ({"consensus": "touched"}, "hot-patch-with-quorum", ["consensus"]),
        ({"consensus": "waived", "reach": 5000}, "hot-patch-with-quorum", ["consensus", "far-reaching"]),
        ({"lines": 199}, "hot-patch", []),
        ({"lines": 200}, "hot-patch-with-quorum", ["large"]),
        ({"lines": 1000}, "full-update", ["very-large"]),
        ({"consensus": "touched", "lines": 1000}, "full-update", ["very-large"]),
        ({"cvss": None, "consensus": None}, "hot-patch-with-quorum", ["severity-unknown", "consensus-unknown"]),
    ],
)
def test_the_gravest_criterion_that_is_met_decides(values, decision, by):
    found = decided(**values)
    assert (found.decision, [each.name for each in found.decided_by]) == (decision, by)
    assert str(found).startswith(f"{decision}: patch FIX-1 for specimen ==1.0")
    for each in found.decided_by:
        assert each.reason in str(found)


def test_what_nobody_knows_is_told_where_it_would_decide():
    found = decided(reach=None, cvss=None, exploitability=None)
    assert [each.name for each in found.open] == ["can-wait"]
    assert "full-update if exploitability none, cvss below 4: can-wait" in str(found)
    assert "reach          not known (a test)" in str(found)
    # A criterion of a lighter class changes nothing any more.
    assert not decided(lines=1000, reach=None).open
    facts = found.to_dict()["facts"]
    assert facts["reach"] == {"value": None, "source": "a test"}
    assert found.to_dict()["open"][0]["class"] == "full-update"


CRITERIA = """
[[criterion]]
name = "peers"
class = "full-update"
exposure = ["network", "adjacent"]
cvss = { least = 2, below = 7.5 }
"""


def test_criteria_of_a_file():
    mine = read_criteria(CRITERIA.encode(), "mine.toml")
    assert decided(mine, cvss=7.4).decision == "full-update"
    assert decided(mine, cvss=7.5).decision == "hot-patch"
    assert decided(mine, cvss=1.9).decision == "hot-patch"
    assert decided(mine, cvss=2.0, exposure="local").decision == "hot-patch"
    told = str(decided(mine, cvss=1.9))
    assert "no criterion of mine.toml asks for more" in told


@pytest.mark.parametrize(
    ("text", "place", "found"),
    [
        ("", "criterion", "none"),
        ("[criterion]", "criterion", "a table"),
        ("[[criterion]]\nclass = 'hot-patch'\nfits = ['no']", "criterion[0].name", "nothing"),
        ("[[criterion]]\nname = 'a'\nfits = ['no']", "criterion[0].class", "nothing"),
        ("[[criterion]]\nname = 'a'\nclass = 'cold-patch'\nfits = ['no']", "criterion[0].class", "'cold-patch'"),
        ("[[criterion]]\nname = 'a'\nclass = 'hot-patch'", "criterion[0]", "no condition"),
        ("[[criterion]]\nname = 'a'\nclass = 'hot-patch'\nfits = 'no'", "criterion[0].fits", "a text"),
        ("[[criterion]]\nname = 'a'\nclass = 'hot-patch'\nfits = ['maybe']", "criterion[0].fits[0]", "'maybe'"),
        ("[[criterion]]\nname = 'a'\nclass = 'hot-patch'\nfits = ['no', 'no']", "criterion[0].fits[1]", "'no' twice"),
        ("[[criterion]]\nname = 'a'\nclass = 'hot-patch'\ncvss = 4", "criterion[0].cvss", "a whole number"),
        ("[[criterion]]\nname = 'a'\nclass = 'hot-patch'\ncvss = {}", "criterion[0].cvss", "a table"),
        ("[[criterion]]\nname = 'a'\nclass = 'hot-patch'\ncvss = {above = 4}", "criterion[0].cvss.above", "unknown"),
        ("[[criterion]]\nname = 'a'\nclass = 'hot-patch'\ncvss = {least = -1}", "criterion[0].cvss.least", "-1"),
        ("[[criterion]]\nname = 'a'\nclass = 'hot-patch'\ncvss = {least = nan}", "criterion[0].cvss.least", "nan"),
        ("[[criterion]]\nname = 'a'\nclass = 'hot-patch'\ncvss = {least = true}", "criterion[0].cvss.least", "True"),
        ("[[criterion]]\nname = 'a'\nclass = 'hot-patch'\nunknown = ['size']", "criterion[0].unknown[0]", "'size'"),
        ("[[criterion]]\nname = 'a'\nclass = 'hot-patch'\nfits = ['no']\nx = 1", "criterion[0].x", "an unknown key"),
        (CRITERIA + CRITERIA, "criterion[1].name", "'peers' twice"),
        ("[[criterion", "readable", ""),
    ],
)
def test_a_file_of_criteria_is_read_strictly(text, place, found):
    with pytest.raises(PolicyError) as error:
        read_criteria(text.encode(), "mine.toml")
    assert place in str(error.value)
    assert found in error.value.found
    assert "mine.toml" in str(error.value)
    assert error.value.expected
    assert error.value.action == "correct the file"


def test_every_word_and_class_of_the_own_criteria_is_known():
    criteria = default_criteria()
    assert {each.decides for each in criteria.criteria} == set(CLASSES[1:])
    assert all(each.reason for each in criteria.criteria)
    for each in criteria.criteria:
        assert all(set(words) < set(WORDS[name]) for name, words in each.words.items()), each.name


# How grave the flaw is


@pytest.mark.parametrize(
    ("vector", "score", "rating", "exploitability", "exposure"),
    [
        (HIGH, 7.5, "high", "", "network"),
        (LOW, 1.7, "low", "none", "local"),
        (f"{HIGH}/E:P", 7.1, "high", "proof-of-concept", "network"),
        ("AV:A/AC:L/Au:N/C:N/I:N/A:C/E:H/RL:U/RC:C", 6.1, "medium", "active", "adjacent"),
        ("CVSS:4.0/AV:P/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N/E:A", 7.0, "high", "active", "physical"),
    ],
)
def test_a_vector_says_how_grave_it_is(vector, score, rating, exploitability, exposure):
    pytest.importorskip("cvss")
    found = severity_of(vector)
    assert (found.score, found.rating, found.exploitability, found.exposure) == (
        score, rating, exploitability, exposure,
    )  # fmt: skip


@pytest.mark.parametrize("vector", ["", "high", "9.8", "CVSS:3.1/AV:N", "CVSS:4.0/AV:N/AC:L", "CVSS:3.1/" * 1000, "\0"])
def test_what_is_no_vector_is_told(vector):
    pytest.importorskip("cvss")
    with pytest.raises(PolicyError, match="cvss is no vector") as error:
        severity_of(vector)
    assert len(str(error.value)) < 900


# In a process

SOURCE = """
def f(x): return x
def g(x): return f(x)
def h(x): return g(x)
def apart(x): return x
"""
FIX = "def f(x): return x + 1"


@pytest.fixture
def unruled(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIVEPATCH_POLICY", raising=False)


def test_a_patch_beside_this_process(write_module, write_fix, unruled):
    pytest.importorskip("cvss")
    m = write_module(SOURCE)
    fix = write_fix(f"{m.__name__}:f", FIX)
    found = livepatch.classify(fix, cvss=HIGH)
    assert found.decision == "hot-patch-with-quorum"
    assert [each.name for each in found.decided_by] == ["consensus-unknown"]
    facts = {name: fact.value for name, fact in found.risk.facts().items()}
    assert facts == {
        "fits": "yes", "cvss": 7.5, "exploitability": None, "exposure": "network", "consensus": None,
        "state": "none", "places": 1, "lines": 2, "reach": 2,
    }  # fmt: skip
    assert m.f(1) == 1
    assert livepatch.status() == ()
    with livepatch.protect(f"{m.__name__}:apart"):
        assert livepatch.classify(fix, cvss=HIGH, exposure="local").decision == "hot-patch"
    with livepatch.protect(f"{m.__name__}:h"):
        touching = livepatch.classify(fix, cvss=HIGH)
        assert touching.risk.consensus.value == "touched"
        assert touching.risk.fits.value == "yes"  # what policy asks for is another matter
    livepatch.apply(fix)
    assert livepatch.classify(fix, cvss=HIGH).decision == "full-update"  # it is there already


def test_a_patch_file_is_classified_only_if_somebody_answers_for_it(tmp_path, unruled):
    from tests.bundle.patches import of_functions

    from livepatch.bundle import codec

    (tmp_path / "fix.lpatch").write_bytes(codec.encode(of_functions(1)))
    with pytest.raises(livepatch.TrustError):
        livepatch.classify(tmp_path / "fix.lpatch")
    found = livepatch.classify(tmp_path / "fix.lpatch", trust=livepatch.UNSIGNED)
    assert (found.decision, found.risk.fits.value) == ("full-update", "no")  # its package is not installed
    with pytest.raises(livepatch.BundleError):
        livepatch.classify(tmp_path / "nowhere.lpatch")


def test_data_and_its_way_back(write_module, write_fix, unruled):
    m = write_module(SOURCE)
    fix = write_fix(f"{m.__name__}:f", FIX)
    fix.migrate("index", 1, up=lambda: None, down=lambda: None)
    assert livepatch.classify(fix).risk.state.value == "reversible"
    fix.migrate(
        "other",
        1,
        up=lambda: None,
        down=None,
        checkpoint=livepatch.Checkpoint(list, lambda saved: None, on_revert=False),
    )
    found = livepatch.classify(fix)
    assert str(found.risk.state) == "irreversible (other 1: no way back)"
    assert found.decision == "full-update"


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ({"exploitability": "some"}, PolicyError, "one of none, proof-of-concept, active"),
        ({"exposure": "peers"}, PolicyError, "one of physical, local, adjacent, network"),
        ({"exposure": 1}, TypeError, "exposure must be a str"),
        ({"cvss": 7.5}, TypeError, "cvss must be a str"),
        ({"criteria": 5}, TypeError, "criteria must be the path"),
        ({"criteria": "nowhere.toml"}, PolicyError, "file of criteria of nowhere.toml cannot be read"),
        ({"timeout": -1}, (TypeError, ValueError, livepatch.LivepatchError), "timeout"),
    ],
)
def test_a_wrong_argument_is_told(write_module, write_fix, unruled, arguments, error, told):
    m = write_module(SOURCE)
    fix = write_fix(f"{m.__name__}:f", FIX)
    with pytest.raises(error, match=told):
        livepatch.classify(fix, **arguments)
    assert m.f(1) == 1


def test_lines_of_new_code_are_counted(write_module, write_fix):
    m = write_module(SOURCE)
    fix = write_fix(f"{m.__name__}:f", "def f(x):\n    def inner():\n        return x\n\n    return inner()")
    assert _lines(fix) == (6, "lines of new code")  # with the decorator


def test_a_pipe_is_no_file_of_criteria(write_module, write_fix, tmp_path, unruled):
    os.mkfifo(tmp_path / "pipe")
    fix = write_fix(f"{write_module(SOURCE).__name__}:f", FIX)
    with pytest.raises(PolicyError, match="no regular file"):
        livepatch.classify(fix, criteria=tmp_path / "pipe")


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ("a\n" * 20_000, "a\n" * 20_001, 1),
        ("a\nb\n" * 10_000, "b\na\n" * 10_000, 40_000),  # too many to be compared: at the worst
        ("".join(f"{n}\n" for n in range(20_000)), "".join(f"{n}\n" for n in range(20_000) if n != 9_000), 1),
        ("a\nb\nc\nd", "a\nx\nc\ny\nd", 3),
        ("", "a\nb", 2),
        ("a\na", "a", 1),
        ("a", "a", 0),
    ],
    ids=range(7),
)
def test_lines_are_counted_in_bounded_time_and_never_too_few(before, after, lines):
    assert _differing(before, after) == lines
    assert _differing(after, before) == lines
