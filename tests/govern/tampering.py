"""What somebody may do to a record that lies in one file: each gives the lines of after, and where they differ."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.govern.records import ORIGIN

from livepatch.govern.entries import Checkpoint, checkpoint_line, encode, is_checkpoint
from livepatch.govern.merkle import Frontier, leaf_hash
from livepatch.govern.notes import sign, verifier_of

Lines = list[bytes]


class Tampered(NamedTuple):
    lines: Lines
    first: int
    last: int
    """The lines that are not what they were, or between which something is missing."""
    rest: bytes = b""


Tampering = Callable[[random.Random, Lines], Tampered]


def flip_a_bit(chance: random.Random, lines: Lines) -> Tampered:
    number = chance.randrange(len(lines))
    line = bytearray(lines[number])
    while True:
        place = chance.randrange(len(line))
        changed = line[place] ^ 1 << chance.randrange(8)
        if changed != 10:  # an end of line makes two of one
            break
    line[place] = changed
    return Tampered([*lines[:number], bytes(line), *lines[number + 1 :]], number, number)


def _entries(lines: Lines) -> list[int]:
    return [number for number, line in enumerate(lines) if number and not is_checkpoint(line)]


def _edited(chance: random.Random, line: bytes) -> bytes:
    held = json.loads(line)
    match chance.randrange(4):
        case 0:
            held["who"] = "mallory"
        case 1:
            held["patch"]["id"] = "CVE-2026-9999"
        case 2:
            held["at"] = held["at"][:-8] + f"{chance.randrange(10**7):07d}Z"
        case _:
            held["event"] = "reverted"
    return encode(held.pop("after").encode(), held)


def edit_a_field(chance: random.Random, lines: Lines) -> Tampered:
    number = chance.choice(_entries(lines))
    return Tampered([*lines[:number], _edited(chance, lines[number]), *lines[number + 1 :]], number, number)


def chained(lines: Lines, number: int) -> Lines:
    """The same lines with the hashes made to fit from there on; checkpoints keep what they signed."""
    made = list(lines[:number])
    for line in lines[number:]:
        held = json.loads(line)
        held.pop("after")
        made.append(encode(leaf_hash(made[-1]).hex().encode() if made else b"0" * 64, held))
    return made


def edit_and_chain(chance: random.Random, lines: Lines) -> Tampered:
    number = chance.choice(_entries(lines))
    made = [*lines[:number], _edited(chance, lines[number])]
    # A tail is enough: what it would be further on cannot be told from it.
    return Tampered(
        [*chained([*made, *lines[number + 1 : number + 7]], number + 1), *lines[number + 7 :]], number, number
    )


def edit_and_sign_with_another_key(chance: random.Random, lines: Lines) -> Tampered:
    number = chance.choice(_entries(lines))
    key = Ed25519PrivateKey.generate()
    made = [*lines[:number], _edited(chance, lines[number])]
    tree = Frontier()
    tree.extend([leaf_hash(line) for line in made])
    note = sign(Checkpoint(ORIGIN, tree.size, tree.root()).text, verifier_of(ORIGIN, key), key)
    made.append(checkpoint_line(leaf_hash(made[-1]).hex().encode(), str(note)))
    return Tampered(
        [*chained([*made, *lines[number + 2 : number + 7]], number + 2), *lines[number + 7 :]], number, number + 1
    )


def delete(chance: random.Random, lines: Lines) -> Tampered:
    number = chance.randrange(len(lines) - 1)
    count = chance.choice((1, 1, 2, 2, 4, 31))
    last = number if number + count < len(lines) else len(lines)  # then it is cut short
    return Tampered([*lines[:number], *lines[number + count :]], number, last)


def swap(chance: random.Random, lines: Lines) -> Tampered:
    one, other = sorted(chance.sample(range(len(lines)), 2))
    made = list(lines)
    made[one], made[other] = made[other], made[one]
    return Tampered(made, one, one)


def move(chance: random.Random, lines: Lines) -> Tampered:
    source, target = chance.sample(range(len(lines)), 2)
    made = list(lines)
    made.insert(target, made.pop(source))
    return Tampered(made, min(source, target), min(source, target))


def copy_within(chance: random.Random, lines: Lines) -> Tampered:
    source, target = chance.randrange(len(lines)), chance.randrange(1, len(lines) + 1)
    count = chance.choice((1, 2, 2, 6))
    while lines[source : source + count] == lines[target : target + count]:
        source = chance.randrange(len(lines))
    return Tampered([*lines[:target], *lines[source : source + count], *lines[target:]], target, target + count)


def splice_from(other: Lines) -> Tampering:
    """Put lines of another record of the same node in the place of those that stand there."""

    def splice(chance: random.Random, lines: Lines) -> Tampered:
        number = chance.randrange(min(len(lines), len(other)) - 1)
        count = chance.choice((1, 2, 2, 8, len(lines)))
        return Tampered(
            [*lines[:number], *other[number : number + count], *lines[number + count :]], number, number + 1
        )

    return splice


def cut_lines(chance: random.Random, lines: Lines) -> Tampered:
    number = chance.randrange(1, len(lines))
    return Tampered(lines[:number], number, len(lines))


def cut_bytes(chance: random.Random, lines: Lines) -> Tampered:
    number = chance.randrange(1, len(lines))
    return Tampered(lines[:number], number, len(lines), lines[number][: chance.randrange(1, len(lines[number]) + 1)])


def drop_checkpoints(chance: random.Random, lines: Lines) -> Tampered:
    number = chance.choice(_entries(lines)[:-2])
    rest = [line for line in lines[number:] if not is_checkpoint(line)][:12]
    return Tampered(chained([*lines[:number], *rest], number), number, number + 1)


def add(chance: random.Random, lines: Lines) -> Tampered:
    held = json.loads(lines[chance.choice(_entries(lines))])
    held.pop("after")
    forged = encode(leaf_hash(lines[-1]).hex().encode(), {**held, "index": len(lines), "who": "mallory"})
    return Tampered([*lines, *chained([*lines, forged, forged], len(lines))[len(lines) :]], len(lines), len(lines) + 1)


def every(other: Lines) -> list[Tampering]:
    return [
        flip_a_bit, edit_a_field, edit_and_chain, edit_and_sign_with_another_key, delete, swap, move, copy_within,
        splice_from(other), cut_lines, cut_bytes, drop_checkpoints, add,
    ]  # fmt: skip
