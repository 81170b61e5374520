"""``livepatch init``: what it writes passes as it is, and nothing that was there is lost."""

from __future__ import annotations

import json

from tests.testing.sessions import folder_with, session

from livepatch.cli.main import main
from livepatch.testing.starter import FILES


def test_what_it_writes_passes_as_it_is(tmp_path, capsys):
    folder_with(tmp_path)
    (tmp_path / "pytest.ini").unlink()
    assert main(["init", str(tmp_path)]) == 0
    last = f"next: python -m pytest {tmp_path}/patches/test_example_fix.py (needs livepatch's extra testing)"
    assert capsys.readouterr().out.splitlines()[-1] == last
    done = session(tmp_path, "patches")
    assert " 9 passed in " in done.text, done.text
    assert main(["policy", "test", str(tmp_path / "livepatch.toml")]) == 0


def test_it_overwrites_nothing_unless_it_is_told_to(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in FILES:
        kept = tmp_path / name
        kept.parent.mkdir(exist_ok=True)
        kept.write_text("mine")
        assert main(["init"]) == 2
        told = capsys.readouterr().err
        assert f"{name}, which is there already" in told
        assert "--force" in told
        assert [path for path in FILES if (tmp_path / path).exists()] == [name]
        assert kept.read_text() == "mine"
        assert main(["init", "--force", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["files"] == list(FILES)
        for path, text in FILES.items():
            assert (tmp_path / path).read_text() == text
            (tmp_path / path).unlink()


def test_a_link_that_leads_nowhere_is_there_as_well(tmp_path, capsys):
    (tmp_path / "livepatch.toml").symlink_to(tmp_path / "nowhere")
    assert main(["init", str(tmp_path)]) == 2
    assert not (tmp_path / "nowhere").exists()
    assert not (tmp_path / "patches" / "example_fix.py").exists()


def test_what_cannot_be_written_leaves_nothing(tmp_path, capsys):
    (tmp_path / "patches").write_text("a file")
    assert main(["init", str(tmp_path)]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["patches"]
