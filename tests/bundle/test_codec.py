"""The patch file's format: one file for each patch, and for anything else one error that says where."""

from __future__ import annotations

import dataclasses

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from tests.bundle.patches import CONTENTS, decode, of_every_part, of_functions

from livepatch.bundle import codec
from livepatch.bundle.codec import Contents, digest, encode
from livepatch.bundle.reading import Limits
from livepatch.contents import edits
from livepatch.contents.claims import RoundTrip, Snapshot, Waiver
from livepatch.contents.edits import FunctionEdit, ModuleEdit, Text
from livepatch.contents.embargo import Embargo
from livepatch.contents.ownership import Owners
from livepatch.contents.probes import Probe
from livepatch.errors import BundleError

PLAIN = of_functions(1)


def tree_of(contents: Contents = PLAIN) -> list:
    """The file as plain values, to be changed and written again."""
    return msgpack.unpackb(encode(contents))


def refused(data: bytes) -> str:
    with pytest.raises(BundleError) as error:
        decode(data)
    assert error.value.found
    assert error.value.expected
    assert error.value.action
    return str(error.value)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(CONTENTS)
def test_what_was_written_is_read_and_has_one_file_only(contents):
    data = encode(contents)
    read = decode(data)
    assert read == contents
    assert encode(read) == data


def test_the_format_is_this_to_the_byte():
    contents = dataclasses.replace(PLAIN, edits=(), plan=(), requires=("A-1",), summary="ü")
    assert encode(contents) == (
        b"\x93\xaflivepatch.patch\x01\xde\x00\x10"
        b"\xafcompatible_with\xa0\xa5edits\x90\xa4flag\xadCVE-2026-1234\xa2id\xadCVE-2026-1234\xa5needs\x83\xa5after\x90\xa6before\x90\xa6python\xa0\xa9obstacles\x90\xa7package\xaanodeclient"
        b"\xa4plan\x90\xa4pure\x90\xa7release\x84\xa7channel\xa6stable\xa7expires\xa0\xa5nodes\x90\xa8revision\x01"
        b"\xa8requires\x91\xa3A-1\xabround_trips\x90\xa9snapshots\x90\xa7summary\xa2\xc3\xbc"
        b"\xa8versions\xa7==2.1.*\xa7waivers\x90"
    )


def test_a_file_holds_every_field_of_every_part():
    """A new field in edits.py is a new format: it must be read as well."""
    records = [name for name in edits.__all__ if name[0].isupper()]
    fields = {name: {f.name for f in dataclasses.fields(getattr(edits, name))} for name in records}
    tree = tree_of(of_every_part())[2]
    assert set(tree) == {f.name for f in dataclasses.fields(Contents)}
    (edit,) = tree["edits"]
    assert set(edit) == fields["ModuleEdit"]
    assert set(edit["before"]) == fields["Side"]
    assert set(edit["before"]["program"][0]) == fields["Statement"]
    assert set(edit["before"]["program"][0]["text"]) == fields["Text"]
    assert set(edit["functions"][0]) == fields["FunctionEdit"]
    assert set(edit["names"][0]) == fields["NameEdit"]
    assert set(edit["attributes"][0]) == fields["AttributeDefault"]
    assert set(edit["unfit"][0]) == fields["Unfit"]
    assert set(edit["memos"][0]) == fields["Memo"]
    assert set(edit["captured"][0]) == fields["Captured"]
    assert set(tree["obstacles"][0]) == fields["Obstacle"]
    assert set(tree["plan"][0]) == fields["PlanEntry"]
    assert set(tree["needs"]) == fields["Needs"]
    assert set(tree["waivers"][0]) == {f.name for f in dataclasses.fields(Waiver)}
    assert set(tree["round_trips"][0]) == {f.name for f in dataclasses.fields(RoundTrip)}
    assert set(tree["snapshots"][0]) == {f.name for f in dataclasses.fields(Snapshot)}
    assert set(tree["owners"]) == {f.name for f in dataclasses.fields(Owners)}
    assert set(tree["embargo"]) == {f.name for f in dataclasses.fields(Embargo)}
    assert set(tree["probes"][0]) == {f.name for f in dataclasses.fields(Probe)}


def test_a_patch_without_what_came_later_is_written_in_the_first_format_and_in_no_other():
    assert tree_of()[1] == 1
    later = {"embargo": None, "owners": {"call": "", "stops": "", "watches": ""}, "probes": []}
    magic, _, fields = tree_of()
    told = refused(msgpack.packb([magic, 2, dict(sorted({**fields, **later}.items()))]))
    assert "format 2 with nothing that needs it" in told
    assert "found: field 'probes'" in refused(msgpack.packb([magic, 1, dict(sorted({**fields, "probes": []}.items()))]))


@pytest.mark.parametrize(
    "more",
    [
        {"owners": Owners(call="me")},
        {"embargo": Embargo(until="2027-03-31T00:00:00Z")},
        {"probes": (Probe(name="p", source="x"),)},
    ],
)
def test_each_of_what_came_later_alone_makes_the_second_format(more):
    contents = dataclasses.replace(PLAIN, **more)
    assert tree_of(contents)[1] == 2
    assert decode(encode(contents)) == contents


@pytest.mark.parametrize("size", [1, 31, 32, 255, 256, 65_535, 65_536, 1_000_000])
def test_texts_of_every_length(size):
    edit = ModuleEdit(module="a", path="a.py", whole="é" + "x" * (size - 1))
    contents = dataclasses.replace(PLAIN, edits=(edit,))
    assert decode(encode(contents)) == contents


def test_a_digest_is_of_the_bytes():
    assert digest(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


# What is told of a file that is none


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "this is no livepatch file; found: an empty file"),
        (
            b"root:x:0:0:root:/root:/bin/sh",
            "this is no livepatch file; found: a file that begins with b'root:x:0:0:root:'",
        ),
        (b"\x91\x01", "this is no livepatch file"),
        (msgpack.packb(["livepatch.bundle", 1, {}]), "this is no livepatch file"),
        (msgpack.packb([1, "livepatch.patch", {}]), "a whole number; expected: a text"),
        (msgpack.packb(["livepatch.patch"]), "a list that begins with 'livepatch.patch'"),
        (msgpack.packb(["livepatch.patch", 3, {}]), "read it with the livepatch that wrote it"),
        (msgpack.packb(["livepatch.patch", 7, {}, "more"]), "found: format 7; expected: format 1 or 2"),
        (msgpack.packb(["livepatch.patch", 1]), "a list of 2"),
        (encode(PLAIN) + b"\0", "1 bytes after the end"),
        (encode(PLAIN)[:-2], "a length beyond the end"),
    ],
)
def test_what_is_no_patch_file_is_told(data, told):
    assert told in refused(data)


Paths = tuple[str | int, ...]
FUNCTION: Paths = ("edits", 0, "functions", 0)
SIDE: Paths = ("edits", 0, "before")


@pytest.mark.parametrize(
    ("path", "value", "where", "told"),
    [
        (("id",), "a b", "id", "found: 'a b'"),
        (("id",), 7, "id", "found: a whole number; expected: a text"),
        (("flag",), "", "flag", "1 to 128 letters"),
        (("package",), "-", "package", "such as 'nodeclient'"),
        (("versions",), "", "versions", "PEP 440"),
        (("versions",), "latest", "versions", "PEP 440"),
        (("versions",), " ==2", "versions", "without blanks"),
        (("summary",), None, "summary", "found: nothing; expected: a text"),
        (("summary",), "x" * 70_000, "summary", "found: a text of 70000 bytes"),
        (("requires",), ["A", "A"], "the file", "A twice in requires"),
        (("requires",), ["CVE-2026-1234"], "the file", "requires itself"),
        (("requires",), "A", "requires", "found: a text; expected: a list"),
        (("compatible_with",), "newest", "compatible_with", "PEP 440"),
        (("compatible_with",), " >=2", "compatible_with", "without blanks"),
        (("compatible_with",), None, "compatible_with", "found: nothing; expected: a text"),
        (("waivers",), [{"reason": "r", "target": "m"}], "waivers[0].target", "package.module:Class.method"),
        (("waivers",), [{"reason": " ", "target": "m:f"}], "waivers[0].reason", "why no protected code"),
        (("waivers",), [{"reason": "r", "target": "m:f"}] * 2, "the file", "m:f twice in waivers"),
        (("needs", "after"), ["a >= 1"], "needs.after[0]", "a requirement as PEP 508 writes it"),
        (("needs", "before"), ["a>="], "needs.before[0]", "a requirement as PEP 508 writes it"),
        (("needs", "before"), ['a; os_name == "\\x41"'], "needs.before[0]", "a requirement as PEP 508 writes it"),
        (("needs", "before"), ['a; os_name == "\\d"'], "needs.before[0]", "a requirement as PEP 508 writes it"),
        (("needs", "before"), ["a; \0"], "needs.before[0]", "a requirement as PEP 508 writes it"),
        (("needs", "python"), "3.11", "needs.python", "PEP 440"),
        (("round_trips",), [{"decode": "m:f", "encode": "m:g()", "values": "m:V"}], "round_trips[0].encode", "'m:g()'"),
        (
            ("snapshots",),
            [{"examples": "m:E", "load": "m:f", "rollback": True, "store": ""}],
            "snapshots[0]",
            "a promise",
        ),
        (
            ("snapshots",),
            [{"examples": "m:E", "load": "f", "rollback": False, "store": ""}],
            "snapshots[0].load",
            "'f'",
        ),
        (("round_trips",), [{"decode": "m:f", "encode": "m:g", "values": [1]}], "round_trips[0].values", "a list"),
        (
            ("pure",),
            ["nodeclient.m0:Pool.function_1"],
            "the file",
            "function_1, declared pure; expected: functions that",
        ),
        (("pure",), [""], "pure[0]", "a text"),
        (("pure",), ["nodeclient.m0:Pool.function_0"] * 2, "the file", "function_0 twice in pure"),
        (("edits",), {}, "edits", "found: a map; expected: a list"),
        (("edits", 0), [], "edits[0]", "found: a list; expected: a map"),
        (("edits", 0, "module"), "a..b", "edits[0].module", "identifiers"),
        (("edits", 0, "module"), "os; import sys", "edits[0].module", "identifiers"),
        (("edits", 0, "module"), "\N{LATIN SMALL LIGATURE FI}le", "edits[0].module", "identifiers"),
        (("edits", 0, "path"), "/etc/passwd", "edits[0].path", "inside the tree"),
        (("edits", 0, "path"), "a/../../b.py", "edits[0].path", "inside the tree"),
        (("edits", 0, "path"), "./b.py", "edits[0].path", "inside the tree"),
        (("edits", 0, "path"), "a//b.py", "edits[0].path", "inside the tree"),
        (("edits", 0, "path"), "a\\b.py", "edits[0].path", "inside the tree"),
        (("edits", 0, "path"), "a\0b.py", "edits[0].path", "inside the tree"),
        (("edits", 0, "path"), "a\x1b[2J.py", "edits[0].path", "inside the tree"),
        (("edits", 0, "path"), "", "edits[0].path", "inside the tree"),
        (("edits", 0, "whole"), "x = 1\n", "edits[0]", "a whole new module with edits"),
        (("edits", 0, "whole"), b"x", "edits[0].whole", "found: binary data; expected: a text"),
        ((*SIDE, "futures", 0), "a.b", "edits[0].before.futures[0]", "a Python identifier"),
        ((*SIDE, "imports", 0), "", "edits[0].before.imports[0]", "a text of 0 bytes"),
        ((*SIDE, "imports", 1), "import a\r\n", "edits[0].before.imports[1]", "in a source text"),
        ((*SIDE, "program", 0, "scope"), ".", "edits[0].before.program[0].scope", "identifiers"),
        ((*FUNCTION, "qualname"), "f.<locals>.g", "edits[0].functions[0].qualname", "identifiers"),
        ((*FUNCTION, "accessor"), "fgett", "edits[0].functions[0].accessor", "one of '', 'fget', 'fset', 'fdel'"),
        ((*FUNCTION, "defaults"), 1, "edits[0].functions[0].defaults", "expected: true or false"),
        ((*FUNCTION, "count"), True, "edits[0].functions[0].count", "found: true or false; expected: a whole number"),
        ((*FUNCTION, "count"), 0, "edits[0].functions[0].count", "a number from 1"),
        ((*FUNCTION, "count"), -1, "edits[0].functions[0].count", "found: a negative number"),
        ((*FUNCTION, "count"), 1.0, "edits[0].functions[0].count", "found: a floating-point number"),
        ((*FUNCTION, "count"), float("nan"), "edits[0].functions[0].count", "found: a floating-point number"),
        ((*FUNCTION, "count"), 2**64 - 1, "edits[0].functions[0].count", "a number from 1"),
        ((*FUNCTION, "index"), 1, "edits[0].functions[0]", "index 1 of 1"),
        ((*FUNCTION, "before", "line"), 0, "edits[0].functions[0].before.line", "a number from 1"),
        ((*FUNCTION, "before", "line"), "1", "edits[0].functions[0].before.line", "found: a text"),
        ((*FUNCTION, "before", "line"), msgpack.ExtType(1, b"x"), "edits[0].functions[0].before.line", "an extension"),
        ((*FUNCTION, "before", "line"), msgpack.Timestamp(1), "edits[0].functions[0].before.line", "an extension"),
        ((*FUNCTION, "before", "source"), "a\0", "edits[0].functions[0].before.source", "in a source text"),
        (("edits", 0, "names", 0, "kind"), "new", "edits[0].names[0].kind", "one of 'changed'"),
        (("plan", 0, "verdict"), "", "plan[0].verdict", "one of 'taken'"),
        (("plan", 0, "target"), "", "plan[0].target", "a text"),
        (("obstacles",), [{"action": "", "code": "No!"}], "obstacles[0].code", "a code of small letters"),
    ],
)
def test_a_wrong_value_is_named_by_its_path(path, value, where, told):
    tree = tree_of()
    holder = tree[2]
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    message = refused(msgpack.packb(tree))
    assert message.startswith(f"no readable patch file: {where}; ")
    assert told in message


def test_a_function_has_a_side_at_least():
    tree = tree_of()
    tree[2]["edits"][0]["functions"][0] |= {"before": None, "after": None}
    assert "edits[0].functions[0]; found: a function without a before and an after" in refused(msgpack.packb(tree))


def test_a_module_has_one_edit():
    tree = tree_of()
    tree[2]["edits"] *= 2
    assert "nodeclient.m0 twice in edits" in refused(msgpack.packb(tree))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda fields: fields.pop("flag"), "the file; found: field 'id'; expected: field 'flag' next"),
        (lambda fields: fields.pop("versions"), "the file; found: field 'waivers'; expected: field 'versions' next"),
        (lambda fields: fields.pop("waivers"), "the file; found: no field 'waivers'"),
        (lambda fields: fields.update(zzz=1), "the file; found: an unknown field 'zzz'"),
        (lambda fields: fields.update(id=fields.pop("id")), "found: field 'needs'; expected: field 'id' next"),
    ],
)
def test_fields_are_all_there_and_sorted(change, told):
    tree = tree_of()
    change(tree[2])
    assert told in refused(msgpack.packb(tree))


def spliced(old: bytes, new: bytes) -> str:
    data = encode(PLAIN)
    assert data.count(old) == 1
    return refused(data.replace(old, new))


def test_a_field_comes_once():
    assert "field 'flag' twice" in spliced(b"\xa2id\xadCVE-2026-1234", b"\xa4flag\xadCVE-2026-1234")


def test_a_name_that_is_no_text_is_no_field():
    assert "the file; found: a whole number; expected: a text" in spliced(b"\xa2id\xad", b"\x01\xad")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b"\xa5count\x01", b"\xa5count\xcc\x01", "count; found: a whole number in 2 bytes"),
        (b"\xa5count\x01", b"\xa5count\xcd\x00\x01", "count; found: a whole number in 3 bytes"),
        (b"\xa5count\x01", b"\xa5count\xcf" + bytes(7) + b"\x01", "count; found: a whole number in 9 bytes"),
        (b"\xa5count\x01", b"\xa5count\xd0\x01", "count; found: a negative number"),  # signed, though it is not
        (b"\xa2id\xad", b"\xa2id\xd9\x0d", "id; found: a text in 15 bytes"),
        (b"\xa2id\xad", b"\xd9\x02id\xad", "the file; found: a text in 4 bytes"),
        (b"\xa7package\xaa", b"\xa7package\xdb\0\0\0\x0a", "package; found: a text in 15 bytes"),
        (b"\xa9obstacles\x90", b"\xa9obstacles\xdc\0\0", "obstacles; found: the length of a list in 3 bytes"),
        (b"\xa5needs\x83", b"\xa5needs\xde\0\x03", "needs; found: the length of a map in 3 bytes"),
        (b"\x01\xde\0\x10", b"\x01\xdf\0\0\0\x10", "the file; found: the length of a map in 5 bytes"),
    ],
)
def test_every_value_has_one_spelling(old, new, told):
    assert told in spliced(old, new)


@pytest.mark.parametrize("bad", [b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"])
def test_texts_are_utf8_without_surrogates(bad):
    old = b"\xa7summary" + b"\xbbreject oversized peer lists"
    assert "summary; found: a text that is not UTF-8" in spliced(old, b"\xa7summary" + bytes([0xA0 + len(bad)]) + bad)


@pytest.mark.parametrize("header", [b"\xdd\xff\xff\xff\xff", b"\xdc\xff\xff"])
def test_a_length_is_not_believed(header):
    assert "to the end of the file" in spliced(b"\xa9obstacles\x90", b"\xa9obstacles" + header)


def test_limits_are_held():
    data = encode(PLAIN)
    for limits, told in (
        (Limits(file=100), "expected: 100 bytes or fewer"),
        (Limits(values=50), "more than 50 values"),
        (Limits(items=4), "imports; found: a list of 12 items"),
        (Limits(source=20), "a text of"),
        (Limits(text=10), "summary; found: a text of 27 bytes"),
        (Limits(name=8), "a text of"),
        (Limits(line=2), "a number from 1 to 2"),
    ):
        with pytest.raises(BundleError, match=told):
            decode(data, limits)


# Writing


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"summary": "\ud800"}, "surrogates not allowed"),
        ({"summary": 1.5}, "summary; found: a floating-point number"),
        ({"summary": object()}, "can not serialize"),
        ({"edits": (ModuleEdit(module="a", path="../a.py"),)}, "edits[0].path; found: '../a.py'"),
        ({"edits": (ModuleEdit(module="a", path="a.py", whole="x\r\n"),)}, "edits[0].whole"),
        ({"edits": (FunctionEdit(qualname="f", before=None, after=None),)}, "edits[0]; found: field 'accessor'"),
    ],
)
def test_what_could_not_be_read_is_not_written(change, told):
    with pytest.raises(BundleError) as error:
        encode(dataclasses.replace(PLAIN, **change))
    assert str(error.value).startswith("patch CVE-2026-1234 cannot be written")
    assert told in str(error.value)


def test_a_marker_in_a_requirement_is_looked_at_and_not_evaluated(monkeypatch):
    """packaging's parser makes the texts of a marker by ast.literal_eval, which compiles them."""
    marked = 'a>=1; (python_version >= "3.8" and os_name == "posix") or "win" in sys_platform'
    contents = dataclasses.replace(PLAIN, needs=dataclasses.replace(PLAIN.needs, before=(marked,)))
    monkeypatch.setattr("ast.literal_eval", lambda text: pytest.fail(f"evaluates {text}"))
    assert decode(encode(contents)).needs.before == (marked,)


def test_the_codec_needs_nothing_that_runs_what_it_reads():
    """Sources are neither parsed nor compiled: a file whose texts are no Python is as good as another to the reader."""
    text = Text(source="this is no Python (", line=1)
    edit = ModuleEdit(module="a", path="a.py", functions=(FunctionEdit(qualname="f", before=None, after=text),))
    contents = dataclasses.replace(PLAIN, edits=(edit,))
    assert decode(encode(contents)) == contents
    assert not {"ast", "compile", "marshal", "pickle", "exec", "eval"} & set(vars(codec))
