"""Where source comes from: directories, wheels, sdists, releases; and what is refused."""

from __future__ import annotations

import dataclasses
import io
import random
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from tests.bundle.trees_of import write_tree

import livepatch
from livepatch.bundle import archives, trees
from livepatch.bundle.trees import open_tree
from livepatch.errors import BundleError

INIT = {"app/__init__.py": "x = 1", "app/sub/m.py": "y = 1"}


def test_an_installed_folder_knows_its_package_by_its_record(tmp_path):
    write_tree(tmp_path, {**INIT, "single.py": ""}, package="My.App", version="2.1")
    write_tree(tmp_path, {"other/__init__.py": "", "app/theirs.py": ""}, package="other")
    tree = open_tree(tmp_path, "my-app")
    assert tree.version == "2.1"
    assert tree.modules == {"app": "app/__init__.py", "app.sub.m": "app/sub/m.py", "single": "single.py"}
    assert tree.sources["app/__init__.py"] == b"x = 1"


def test_a_file_that_was_added_by_hand_belongs_to_the_package_around_it(tmp_path):
    write_tree(tmp_path, INIT)
    (tmp_path / "app" / "fresh.py").write_text("")
    (tmp_path / "elsewhere.py").write_text("")
    assert set(open_tree(tmp_path, "app").modules) == {"app", "app.sub.m", "app.fresh"}


def test_a_project_tree_with_src_layout(tmp_path):
    for path, text in {
        "pyproject.toml": "[project]\nname = 'app'\nversion = '3.0'\n",
        "src/app/__init__.py": "",
        "src/app/m.py": "",
        "tests/test_m.py": "",
        "docs/conf.py": "",
        "setup.py": "",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    tree = open_tree(str(tmp_path), "app")
    assert tree.version == "3.0"
    assert tree.modules == {"app": "src/app/__init__.py", "app.m": "src/app/m.py"}


def test_a_project_tree_whose_module_has_another_name(tmp_path):
    (tmp_path / "yaml").mkdir()
    (tmp_path / "yaml" / "__init__.py").write_text("")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "__init__.py").write_text("")
    tree = open_tree(tmp_path, "PyYAML")
    assert tree.version is None
    assert set(tree.modules) == {"yaml"}


def archive(path, files):
    if path.suffix == ".gz":
        with tarfile.open(path, "w:gz") as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    else:
        with zipfile.ZipFile(path, "w") as one:
            for name, data in files.items():
                one.writestr(name, data)
    return path


def test_wheels_and_sdists(tmp_path):
    metadata = b"Name: app\nVersion: 1.5\n"
    wheel = archive(
        tmp_path / "app-1.5-py3-none-any.whl",
        {
            "app/__init__.py": b"x = 1",
            "app-1.5.dist-info/METADATA": metadata,
            "app-1.5.dist-info/RECORD": b"app/__init__.py,,\n",
        },
    )
    files = {"app-1.5/app/__init__.py": b"x = 1", "app-1.5/PKG-INFO": metadata, "app-1.5/tests/test_x.py": b""}
    for path in (wheel, archive(tmp_path / "app-1.5.tar.gz", files), archive(tmp_path / "app-1.5.zip", files)):
        tree = open_tree(path, "app")
        assert (tree.version, dict(tree.modules)) == ("1.5", {"app": "app/__init__.py"})


@pytest.mark.parametrize("name", ["../evil.py", "/evil.py", "app/../../evil.py", "C:\\evil.py"])
@pytest.mark.parametrize("kind", ["a.tar.gz", "a.zip"])
def test_paths_outside_an_archive_are_refused(tmp_path, name, kind):
    with pytest.raises(BundleError, match="outside itself"):
        open_tree(archive(tmp_path / kind, {"app/__init__.py": b"", name: b""}), "app")


def test_links_in_archives_and_out_of_directories_are_not_followed(tmp_path):
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("a/app/__init__.py")
        tar.addfile(info, io.BytesIO(b""))
        link = tarfile.TarInfo("a/app/evil.py")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    assert set(open_tree(path, "app").modules) == {"app"}
    (tmp_path / "outside.py").write_text("secret = 1")
    write_tree(tmp_path / "tree", {"app/__init__.py": ""})
    (tmp_path / "tree" / "app" / "evil.py").symlink_to(tmp_path / "outside.py")
    assert set(open_tree(tmp_path / "tree", "app").modules) == {"app"}


def test_bounds(tmp_path, monkeypatch):
    write_tree(tmp_path, INIT)
    with monkeypatch.context() as patch:
        patch.setattr(archives, "MAX_FILES", 2)
        with pytest.raises(BundleError, match="too large"):
            open_tree(tmp_path, "app")
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 3)
    with pytest.raises(BundleError, match="too large"):
        open_tree(tmp_path, "app")
    path = archive(tmp_path / "bomb.zip", {"app/__init__.py": b"x" * 100})
    with pytest.raises(BundleError, match="too large"):
        open_tree(path, "app")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 broken", b"\x1f\x8b broken"])
def test_broken_archives(tmp_path, data):
    (tmp_path / "a.tar.gz").write_bytes(data)
    with pytest.raises(BundleError):
        open_tree(tmp_path / "a.tar.gz", "app")


def damaged(data, first):
    """The same with some bytes after the `first` changed, but for the end, where a zip file keeps its table."""
    end = min(first + 200, len(data) - 400)
    assert first < end
    return data[:first] + bytes(byte ^ 0x5A for byte in data[first:end]) + data[end:]


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_wheel_that_was_damaged_on_the_way(tmp_path, method):
    path = tmp_path / "app-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", method) as one:
        one.writestr("app/__init__.py", random.Random(1).randbytes(9000).hex())
    path.write_bytes(damaged(path.read_bytes(), 100))
    with pytest.raises(BundleError, match="archive cannot be read") as caught:
        open_tree(path, "app")
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("kind", ["gz", "xz", "bz2"])
def test_an_sdist_that_was_damaged_on_the_way(tmp_path, kind):
    path = tmp_path / f"app-1.0.tar.{kind}"
    data = random.Random(1).randbytes(9000).hex().encode()
    with tarfile.open(path, f"w:{kind}") as tar:
        info = tarfile.TarInfo("app-1.0/app/__init__.py")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    path.write_bytes(damaged(path.read_bytes(), 5000))
    with pytest.raises(BundleError):
        open_tree(path, "app")


def test_a_wheel_with_a_name_that_is_no_text(tmp_path):
    path = archive(tmp_path / "app.whl", {"app/__init__.py": b"", "app/\xe9.py": b""})
    data = path.read_bytes()
    path.write_bytes(data.replace("\xe9".encode(), b"\xe9\xe9"))
    with pytest.raises(BundleError, match="archive cannot be read"):
        open_tree(path, "app")


def test_a_link_that_leads_to_itself_leads_nowhere(tmp_path):
    write_tree(tmp_path, INIT)
    (tmp_path / "app" / "loop").symlink_to("loop")
    (tmp_path / "app" / "loop.py").symlink_to("loop.py")
    assert set(open_tree(tmp_path, "app").modules) == {"app", "app.sub.m"}


def test_nothing_of_the_package(tmp_path):
    with pytest.raises(BundleError, match="no Python files"):
        open_tree(tmp_path, "app")
    with pytest.raises(BundleError, match="no such source tree"):
        open_tree("app=1", "app")


def test_encodings_are_those_that_the_file_declares(tmp_path):
    for side, value in (("old", "é"), ("new", "ü")):
        write_tree(tmp_path / side, {"app/__init__.py": ""})
        text = f"# -*- coding: latin-1 -*-\nclass C:\n    def f(self): return '{value}'\n"
        (tmp_path / side / "app" / "m.py").write_bytes(text.encode("latin-1"))
    patch = livepatch.build(tmp_path / "old", tmp_path / "new", package="app")
    assert patch.edits[0].functions[0].after.source == "def f(self): return 'ü'\n"


# Each kind of input gives the same patch


def release_of(tmp_path, version, value, kind):
    """A release of `app` as a wheel or an sdist."""
    metadata = f"Metadata-Version: 2.1\nName: app\nVersion: {version}\n".encode()
    code = {"app/__init__.py": b"", "app/m.py": f"LIMIT = {value}\ndef f(): return LIMIT\n".encode()}
    tmp_path.mkdir(exist_ok=True)
    if kind == "wheel":
        info = f"app-{version}.dist-info"
        record = "".join(f"{path},,\n" for path in code).encode()
        files = {**code, f"{info}/METADATA": metadata, f"{info}/RECORD": record}
        return archive(tmp_path / f"app-{version}-py3-none-any.whl", files)
    root = f"app-{version}"
    files = {f"{root}/src/{path}": data for path, data in code.items()}
    return archive(tmp_path / f"{root}.tar.gz", {**files, f"{root}/PKG-INFO": metadata, f"{root}/setup.py": b""})


def test_every_kind_of_input_gives_the_same_patch(tmp_path, monkeypatch):
    asked = []

    def fake_pip(command, **_options):
        requirement, folder = command[-1], Path(command[command.index("--dest") + 1])
        name, _, version = requirement.partition("==")
        asked.append((name, version, "--no-deps" in command))
        release_of(folder, version, version.partition(".")[2], "wheel")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(trees.subprocess, "run", fake_pip)
    made = [
        livepatch.build(*(release_of(tmp_path / kind, f"1.{n}", n, kind) for n in (0, 1)), package="app")
        for kind in ("wheel", "sdist")
    ]
    made.append(livepatch.build("app==1.0", "app==1.1", package="app"))
    assert asked == [("app", "1.0", True), ("app", "1.1", True)]
    assert {fix.versions for fix in made} == {"==1.0"}
    (first, second, third) = ([dataclasses.replace(edit, path="") for edit in fix.edits] for fix in made)
    assert first == second == third
    assert [name.qualname for edit in first for name in edit.names] == ["LIMIT"]


@pytest.mark.parametrize(
    ("status", "said", "action"),
    [
        (1, "ERROR: No matching distribution found", "correct the version, or"),
        (0, "", "correct the version, or"),
        (1, "/usr/bin/python: No module named pip", "install pip, or"),
    ],
)
def test_what_pip_cannot_find_is_told(monkeypatch, status, said, action):
    done = subprocess.CompletedProcess([], status, "", said)
    monkeypatch.setattr(trees.subprocess, "run", lambda *_args, **_options: done)
    with pytest.raises(BundleError, match=said or "nothing was downloaded") as raised:
        open_tree("app==1.0", "app")
    assert raised.value.action.startswith(action)


@pytest.mark.slow
def test_two_releases_from_the_index():
    fix = livepatch.build("idna==3.6", "idna==3.7", package="idna", only=["idna.core"])
    assert fix.versions == "==3.6"
    assert {"idna.core"} <= {edit.module for edit in fix.edits}
