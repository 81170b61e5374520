"""Sign by a command, so that the key may stay in a device.

The command gets the bytes to sign on its standard input and writes the 64 bytes of the signature, and nothing else, to
its standard output.  It is started without a shell.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from livepatch.bundle import disk
from livepatch.bundle.keys import PublicKey
from livepatch.errors import TrustError, shortened, spelled

__all__ = ["Command"]

_SECONDS = 120.0


class Command:
    """Signs by starting `arguments`, a program and what it is given, within `timeout` seconds.

    What it gives is held against `key` by whoever asks for the signature.
    """

    def __init__(self, arguments: Sequence[str], key: PublicKey, timeout: float = _SECONDS) -> None:
        if isinstance(arguments, str) or not arguments:
            raise TypeError(f"arguments must be a program and what it is given, not {spelled(arguments)}")
        self._arguments = tuple(arguments)
        self._key = key
        self._timeout = timeout

    @property
    def key(self) -> PublicKey:
        """The public key of its signatures."""
        return self._key

    def sign(self, message: bytes) -> bytes:
        """What the command writes.  Raises :class:`TrustError` if it cannot be started, fails or takes too long."""
        try:
            done = subprocess.run(  # noqa: S603  # whoever signs names the command; there is no shell
                self._arguments, input=message, capture_output=True, timeout=self._timeout, check=False
            )
        except subprocess.TimeoutExpired:
            # The standard library's error names all arguments, and one of them may be a PIN.
            raise self._failed(f"no end after {self._timeout:g} seconds") from None
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise self._failed(disk.reason(error)) from error
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            raise self._failed(f"status {done.returncode}" + (f": {shortened(said, 300)}" if said else ""))
        return done.stdout

    def _failed(self, found: str) -> TrustError:
        return TrustError(
            f"the command {spelled(self._arguments[0])} did not sign",
            found=found,
            expected="status 0, and the 64 bytes of a signature on its standard output",
            action="try the command by itself",
        )
