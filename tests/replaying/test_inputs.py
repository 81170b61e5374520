"""Recorded calls are read strictly: what is none is told with where it stands, and nothing else is raised."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livepatch.errors import PatchError
from livepatch.replaying.inputs import Input, read_inputs
from livepatch.replaying.plain import pack, unpack, unpacker

CALL: dict[str, Any] = {"target": "m:f"}


def of(*records: object, **how) -> list[Input]:
    return list(read_inputs(records, **how))  # type: ignore[arg-type]  # what is no mapping, too


def test_what_is_left_out_is_empty():
    assert of(CALL) == [Input(number=1, where="input 1", target="m:f", kwargs={})]


def test_a_file_of_json_and_one_of_msgpack_say_the_same(tmp_path):
    records = [{"target": "m:C.f", "args": [b"\x00\xff", 1.5, None], "kwargs": {"b": [2**63]}, "height": 7}, CALL]
    texts, maps = tmp_path / "inputs.jsonl", tmp_path / "inputs"
    lines = [json.dumps({**records[0], "args": [{"$hex": "00ff"}, 1.5, None]}), "", json.dumps(CALL), ""]
    texts.write_text("\n".join(lines))
    maps.write_bytes(b"".join(map(msgpack.packb, records)))
    first, second = read_inputs(texts)
    assert (first.args, first.kwargs, first.height) == ((b"\x00\xff", 1.5, None), {"b": [2**63]}, 7)
    assert (first.where, second.where) == ("line 1", "line 3")
    others = list(read_inputs(maps))
    assert [each.where for each in others] == ["map 1, at byte 0", f"map 2, at byte {len(msgpack.packb(records[0]))}"]
    assert [(each.target, each.args, each.kwargs) for each in others] == [
        (each.target, each.args, each.kwargs) for each in (first, second)
    ]


def test_json_has_tuples_and_large_numbers(tmp_path):
    path = tmp_path / "inputs"
    path.write_text('{"target": "m:f", "args": [{"$tuple": [1, {"$tuple": []}]}, 123456789012345678901234567890]}')
    assert next(read_inputs(path)).args == ((1, ()), 123456789012345678901234567890)


@pytest.mark.parametrize(
    ("record", "found"),
    [
        (7, "7"),
        ([("target", "m:f")], "a builtins.list"),
        ({}, "target None"),
        ({"target": "f"}, "target 'f'"),
        ({"target": "m:f()"}, "target 'm:f()'"),
        ({**CALL, "arg": []}, "a field 'arg'"),
        ({**CALL, 7: []}, "a field 7"),
        ({**CALL, "args": "ab"}, "args 'ab'"),
        ({**CALL, "args": {}}, "args a builtins.dict"),
        ({**CALL, "kwargs": []}, "kwargs a builtins.list"),
        ({**CALL, "kwargs": {1: 2}}, "kwargs a builtins.dict"),
        ({**CALL, "height": -1}, "height -1"),
        ({**CALL, "height": True}, "height True"),
        ({**CALL, "height": 2**63}, "height 9223372036854775808"),
        ({**CALL, "height": "7"}, "height '7'"),
        ({**CALL, "differs": 1}, "differs 1"),
        ({**CALL, "args": [object()]}, "a builtins.object"),
        ({**CALL, "args": [[{"a": {1}}]]}, "a builtins.set"),
        ({**CALL, "args": [{(1, 2): 3}]}, "the key a builtins.tuple"),
        ({**CALL, "args": [type("Text", (str,), {})("a")]}, "a tests.replaying.test_inputs.Text"),
    ],
)
def test_what_is_no_call_is_refused_with_where_it_is(record, found):
    with pytest.raises(PatchError, match="input 2 is no recorded call") as caught:
        of(CALL, record)
    assert caught.value.found == found


def test_what_contains_itself_is_refused():
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(PatchError, match="levels deep"):
        of({**CALL, "args": endless})


def test_with_an_activation_height_each_has_its_own_and_none_differs_below():
    for record, found in (
        (CALL, "no height"),
        ({**CALL, "height": 9, "differs": True}, "differs at height 9"),
    ):
        with pytest.raises(PatchError) as caught:
            of(record, activation=10)
        assert caught.value.found == found
    assert of({**CALL, "height": 10, "differs": True}, activation=10)[0].differs


@pytest.mark.parametrize(
    ("data", "where", "found"),
    [
        (b'{"target": "m:f"}\n{"target": "m:f"', "line 2", "no JSON: Expecting ',' delimiter"),
        (b'\n\n[{"target": "m:f"}]', "line 3", "a builtins.list"),
        (b'{"target": "m:f", "target": "m:g"}', "line 1", "field 'target' twice"),
        (b'{"target": "m:f", "args": [NaN]}', "line 1", "the number NaN"),
        (b'{"target": "m:f", "args": [1e999]}', "line 1", "the number 1e999"),
        (b'{"target": "m:f", "args": [' + b"1" * 5000 + b"]}", "line 1", "no JSON: Exceeds the limit"),
        (b'{"target": "m:f", "args": [{"$hex": "0"}]}', "line 1", "$hex '0'"),
        (b'{"target": "m:f", "args": [{"$hex": 7}]}', "line 1", "$hex 7"),
        (b'{"target": "m:f", "args": [{"$tuple": 7}]}', "line 1", "$tuple 7"),
        (b'{"target": "m:\xff"}', "line 1", "no JSON: 'utf-8' codec"),
        (b'{"a": ' + b"[" * 100_000, "line 1", "no JSON: "),
        (b"\x81\xa6target\xa3m:f\x81\xa6targ", "map 2, at byte 12", "a file that ends inside it"),
        (b"\x81\xa6target\xa3m:f\xc1", "map 2, at byte 12", "no msgpack: "),
        (b"\x81\xa6target\xa3m:f\x07", "map 2, at byte 12", "7"),
        (b"\x82\xa6target\xa3m:f\xa4args\x91\xd4\x01a", "map 1, at byte 0", "a msgpack.ext.ExtType"),
        (b"\x82\xa6target\xa3m:f\xa4args\x91\xd6\xff\x00\x00\x00\x00", "map 1, at byte 0", "a msgpack.ext.Timestamp"),
        (b"\x81\xc4\x01a\x07" + b"\x91" * 5000, "map 1, at byte 0", "a field b'a'"),
        (b"\x81\xa1a" + b"\x91" * 100_000, "map 1, at byte 0", "no msgpack: "),
        (b"\x80\x02]q\x00.", "map 1, at byte 0", "target None"),  # a pickle begins like an empty map
        (b"cos\nsystem\n", "the file", "a file that begins with b'c'"),
        (b"\xef\xbb\xbf{}", "the file", "a file that begins with b'\\xef'"),
    ],
)
def test_a_file_is_refused_with_where_it_is_wrong(tmp_path, data, where, found):
    path = tmp_path / "inputs"
    path.write_bytes(data)
    with pytest.raises(PatchError) as caught:
        list(read_inputs(path))
    assert str(caught.value).startswith(f"{where} is no recorded call")
    assert caught.value.found.startswith(found)


def test_there_are_inputs(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "blank").write_text("\n  \n")
    for inputs in ([], tmp_path / "empty", tmp_path / "blank"):
        with pytest.raises(PatchError, match="there are no inputs"):
            list(read_inputs(inputs))
    for inputs in (tmp_path, tmp_path / "nothing", "a\0b"):
        with pytest.raises(PatchError, match="the inputs cannot be read"):
            list(read_inputs(inputs))
    for inputs in (7, b"{}", CALL, None):
        with pytest.raises(TypeError, match="inputs must be"):
            list(read_inputs(inputs))  # type: ignore[arg-type]  # that is the point


def test_a_line_has_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr("livepatch.replaying.inputs._LARGEST", 100)
    path = tmp_path / "inputs"
    path.write_text('{"target": "m:f"}\n{"target": "' + "m" * 200)
    with pytest.raises(PatchError, match="line 2 is no recorded call; found: more than 100 bytes"):
        list(read_inputs(path))
    path.write_bytes(msgpack.packb(CALL) + msgpack.packb({"target": "m:f", "args": ["x" * 500]}))
    with pytest.raises(PatchError, match=r"map 2, at byte 12 is no recorded call"):
        list(read_inputs(path))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**200), 2**200) | st.floats(allow_nan=False) | st.binary()
    | st.text(st.characters(exclude_categories=[])),
    lambda some: st.lists(some) | st.lists(some).map(tuple) | st.dictionaries(st.text() | st.integers(), some),
    max_leaves=20,
)  # fmt: skip


@settings(deadline=None)
@given(PLAIN)
def test_what_is_plain_comes_through_as_it_is(value):
    data = pack(value)
    assert repr(unpack(data)) == repr(value)
    reading = unpacker()
    reading.feed(data + data)
    assert [repr(each) for each in reading] == [repr(value)] * 2


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_whatever_a_file_holds_is_a_call_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(data)
    with pytest.raises(PatchError):
        list(read_inputs(path))
