"""Who may see which part of a patch: every field of its file is in exactly one list."""

from __future__ import annotations

import dataclasses

from livepatch.bundle.codec import Contents
from livepatch.contents.public import EMBARGOED, IN_REPORTS, OPERATORS, PUBLIC


def test_every_field_of_a_file_stands_in_one_list():
    every = [*PUBLIC, *OPERATORS, *IN_REPORTS, *EMBARGOED]
    assert sorted(every) == sorted(field.name for field in dataclasses.fields(Contents))
