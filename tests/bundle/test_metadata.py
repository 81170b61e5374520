"""What a source tree says of itself; what cannot be read is left out."""

from __future__ import annotations

import pytest

from livepatch.bundle.metadata import Metadata, metadata_folder, read_metadata

WHEEL = b"""Metadata-Version: 2.1
Name: app
Version: 1.5
Requires-Python: >=3.11, <4
Requires-Dist: Other.Name[extra] >= 2 ; python_version >= "3"
Requires-Dist: plain
Requires-Dist: plain
Requires-Dist: for-extra ; extra == "more"
Requires-Dist: at-url @ https://example.org/a.whl
Requires-Dist: ???

A text that says Version: 9
"""


def test_what_an_installed_release_needs():
    assert read_metadata({"app-1.5.dist-info/METADATA": WHEEL}, "app-1.5.dist-info") == Metadata(
        "1.5", "<4,>=3.11", ('other-name>=2; python_version >= "3"', "plain")
    )


def test_a_project_file():
    project = b"[project]\nversion = '3'\nrequires-python = '>=3.12'\ndependencies = ['B', 'a>1', 7]\n"
    assert read_metadata({"pyproject.toml": project}, None) == Metadata("3", ">=3.12", ("a>1", "b"))


@pytest.mark.parametrize(
    "text",
    [b"", b"\xff", b"[project", b"project = 1", b"[project]\nversion = 1\ndependencies = 'a'\nrequires-python = '?'"],
)
def test_a_project_file_that_tells_nothing(text: bytes):
    assert read_metadata({"pyproject.toml": text}, None) == Metadata()


def test_metadata_without_a_version_leaves_it_to_the_project_file():
    files = {"PKG-INFO": b"Name: app\n", "pyproject.toml": b"[project]\nversion = '3'\n"}
    assert read_metadata(files, None).version == "3"


def test_the_folder_is_that_of_the_package():
    files = ["other-1.dist-info/METADATA", "My_App-2.0.dist-info/METADATA", "my_app-2.0.dist-info/RECORD"]
    assert metadata_folder(files, "my.app") == "My_App-2.0.dist-info"
    assert metadata_folder(files, "app") is None
