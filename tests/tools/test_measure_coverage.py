"""What `make coverage` makes of what coverage.py counted."""

from __future__ import annotations

import pytest
from tools.measure_coverage import OF_EACH, PACKAGES, TESTS, Figure, below, chosen, figures, not_reached


def file(lines: int, lines_reached: int, branches: int, branches_reached: int) -> dict[str, object]:
    summary = {
        "num_statements": lines,
        "covered_lines": lines_reached,
        "num_branches": branches,
        "covered_branches": branches_reached,
    }
    return {"summary": summary}


def test_the_files_of_a_package_and_of_what_is_in_it_count_together():
    found = figures(
        {
            "files": {
                "src/livepatch/compat/checks.py": file(10, 9, 4, 4),
                "src/livepatch/compat/calls/machine.py": file(6, 6, 0, 0),
                "src/livepatch/govern/log.py": file(4, 1, 0, 0),
            }
        }
    )
    assert found["compat"] == Figure(16, 15, 4, 4)
    assert found["compat"].percent == pytest.approx(95.0)
    assert found["govern"].percent == pytest.approx(25.0)


def test_a_package_of_which_nothing_was_measured_is_below():
    assert figures({"files": {}})["engine"].percent == 0.0
    enough = {package: Figure(100, 95, 0, 0) for package in PACKAGES}
    assert below(enough) == []
    assert below(enough | {"bundle": Figure(1000, 949, 0, 0), "engine": Figure()}) == ["engine", "bundle"]


def test_what_was_not_reached_is_told_by_file_and_a_branch_only_where_its_line_was():
    report = {
        "files": {
            "b.py": {"missing_lines": [7, 3], "missing_branches": [[3, 4], [5, -1]]},
            "a.py": {"missing_lines": [], "missing_branches": []},
        }
    }
    assert list(not_reached(report)) == ["b.py: 3, 7, 5->-1"]


def test_arguments_that_name_tests_replace_the_choice():
    assert chosen(["-k", "name"], TESTS)[:2] == ["-k", "name"]
    assert "tests/engine" in chosen(["-x"], TESTS)
    assert chosen(["tests/engine/test_pace.py::test_one"], TESTS) == ["tests/engine/test_pace.py::test_one"]


@pytest.mark.parametrize("part", TESTS)
def test_what_is_run_is_there(part):
    assert set(OF_EACH) < set(TESTS)
    assert len(chosen([], TESTS)) > len(TESTS)
    if "*" not in part:
        assert f"tests/{part}" in chosen([], TESTS)
