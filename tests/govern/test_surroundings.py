"""What an entry says of its surroundings is as they are now, however often it is asked."""

from __future__ import annotations

import email.parser
import importlib
import sys

import pytest

from livepatch.govern import surroundings


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return tmp_path


def install(site, version, *, name="METADATA", folder="odd_package-0.dist-info"):
    (site / folder).mkdir(exist_ok=True)
    (site / folder / name).write_text(f"Metadata-Version: 2.1\nName: odd-package\nVersion: {version}\n\nVersion: 9\n")
    importlib.invalidate_caches()


def test_the_version_is_the_one_that_is_installed_now(site):
    assert surroundings.version_of("odd-package") == ""
    for version in ("1.0", "1.0", "1.1", "1.0"):
        install(site, version)
        assert surroundings.version_of("odd-package") == surroundings.version_of("odd_package") == version
    (site / "odd_package-0.dist-info" / "METADATA").unlink()
    (site / "odd_package-0.dist-info").rmdir()
    importlib.invalidate_caches()
    assert surroundings.version_of("odd-package") == ""


def test_a_distribution_without_that_file_has_the_version_of_the_other_one(site):
    for version in ("1.0", "1.1"):
        install(site, version, name="PKG-INFO", folder="odd_package.egg-info")
        assert surroundings.version_of("odd-package") == version


def test_metadata_that_have_not_changed_are_not_read_again(site, monkeypatch):
    install(site, "1.0")
    assert surroundings.version_of("odd-package") == "1.0"
    monkeypatch.setattr(email.parser.Parser, "parsestr", lambda *_, **__: pytest.fail("read again"))
    assert surroundings.version_of("odd-package") == "1.0"
    install(site, "1.1")
    with pytest.raises(pytest.fail.Exception, match="read again"):
        surroundings.version_of("odd-package")


def test_a_time_is_written_in_utc_with_its_microseconds():
    seconds = 1_790_000_000
    told = [surroundings.utc(seconds * 10**9 + rest) for rest in (0, 999_999_999, 10**9, 1_000)]
    assert told == [
        "2026-09-21T14:13:20.000000Z",
        "2026-09-21T14:13:20.999999Z",
        "2026-09-21T14:13:21.000000Z",
        "2026-09-21T14:13:20.000001Z",
    ]
