# /// case
# id = "CVE-2021-33503"
# package = "urllib3"
# vulnerable = "1.26.4"
# fixed = "1.26.5"
# what = "an address with many @ takes quadratic time to parse"
# shape = "one function, regular expressions added and removed"
# python = "<3.12"  # it imports what later versions have no more
# modules = ["urllib3"]
# only = ["urllib3.util.url:parse_url"]
# ///
"""One pattern had to find where the user name ends; now the last @ does."""

from contextlib import suppress

from slow import SIZES, blows_up
from urllib3 import PoolManager
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

POOLS = PoolManager()


def _parse(size: int) -> None:
    with suppress(LocationParseError):
        parse_url("http://" + "@" * size + ":x/")


def exploit() -> bool:
    return blows_up(_parse, SIZES)


def regression() -> None:
    url = parse_url("http://me:secret@node.example:8080/status?a=1")
    assert (url.auth, url.host, url.port, url.path) == ("me:secret", "node.example", 8080, "/status")
    assert parse_url("http://a@b@node.example/").host == "node.example"
    assert POOLS.connection_from_url("http://node.example:81/").port == 81
