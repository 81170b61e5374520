# /// case
# id = "CVE-2022-36087"
# package = "oauthlib"
# vulnerable = "3.2.1"
# fixed = "3.2.2"
# what = "a redirect address with an IPv6 host takes exponential time to check"
# shape = "a constant, and those computed from it"
# modules = ["oauthlib", "oauthlib.oauth2", "oauthlib.oauth1", "oauthlib.uri_validate"]
# ///
"""Each colon could end one repetition or begin the next.  The pattern is pasted into several others."""

from oauthlib.oauth2.rfc6749.grant_types.base import is_absolute_uri
from oauthlib.uri_validate import is_uri
from slow import blows_up


def exploit() -> bool:
    return blows_up(lambda size: is_absolute_uri("http://[" + ":" * size), range(10, 40))


def regression() -> None:
    assert is_absolute_uri("https://client.example/callback?a=1")
    assert is_uri("http://127.0.0.1:8000/")
    assert not is_absolute_uri("/callback")
