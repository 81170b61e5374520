"""Small source trees, and what a patch built from two of them holds."""

from __future__ import annotations

import textwrap

import livepatch


def write_tree(root, files, *, package="app", version="1.0", record=None):
    """A tree as `pip install --target` leaves it; `files` by path, with or without the package's folder."""
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
    info = root / f"{package}-{version}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    if record or (record is None and not any(path.startswith("src/") for path in files)):
        (info / "RECORD").write_text("".join(f"{path},,\n" for path in files))
    return root


def built(tmp_path, old, new, *, only=None, **options):
    """The patch between two versions of a package; a side that is text is the file `app/m.py`."""
    sides = []
    for name, files, version in (("old", old, "1.0"), ("new", new, "1.1")):
        if isinstance(files, str):
            files = {"app/__init__.py": "", "app/m.py": files}
        sides.append(write_tree(tmp_path / name, files, version=version))
    return livepatch.build(*sides, package="app", only=only, **options)


def edit_of(patch, module="app.m"):
    (edit,) = [e for e in patch.edits if e.module == module]
    return edit


def names(patch, module="app.m"):
    """The names of one module, each with what becomes of it."""
    return {n.qualname: n.kind for e in patch.edits if e.module == module for n in e.names}


def functions(patch, module="app.m"):
    return {f.qualname: f for e in patch.edits if e.module == module for f in e.functions}


def program(patch, side="after", module="app.m"):
    """The first lines of what one side runs, with the class around each."""
    statements = getattr(edit_of(patch, module), side).program
    return [(s.scope, s.text.source.splitlines()[0]) for s in statements]


def verdicts(patch):
    return {e.target: e.verdict for e in patch.plan}


def codes(patch):
    return [o.code for o in patch.obstacles]
