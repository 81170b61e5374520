# /// case
# id = "CVE-2023-25577"
# package = "Werkzeug"
# vulnerable = "2.2.2"
# fixed = "2.2.3"
# what = "a form may have any number of parts"
# shape = "three modules: parameters, attributes of objects, a class attribute"
# requires = ["MarkupSafe==2.1.5"]
# modules = ["werkzeug", "werkzeug.wrappers", "werkzeug.formparser", "werkzeug.test"]
# only = [
#   "werkzeug.formparser:FormDataParser.__init__",
#   "werkzeug.formparser:FormDataParser._parse_multipart",
#   "werkzeug.formparser:MultiPartParser.__init__",
#   "werkzeug.formparser:MultiPartParser.parse",
#   "werkzeug.sansio.multipart:MultipartDecoder.__init__",
#   "werkzeug.sansio.multipart:MultipartDecoder.next_event",
#   "werkzeug.wrappers.request:Request.make_form_data_parser",
#   "werkzeug.wrappers.request:Request.max_form_parts",
# ]
# ///
"""A small upload could keep a worker busy for long.  The limit goes from the request down to the decoder."""

from io import BytesIO

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Epilogue, MultipartDecoder, NeedData
from werkzeug.test import create_environ
from werkzeug.wrappers import Request

PART = b'--x\r\ncontent-disposition: form-data; name="%d"\r\n\r\n1\r\n'
HALF_READ = []


def _begun() -> MultipartDecoder:
    decoder = MultipartDecoder(b"x")
    decoder.receive_data(PART % 1)
    while not isinstance(decoder.next_event(), NeedData):
        pass
    return decoder


HALF_READ += [_begun() for _ in range(8)]


def _fields(count: int) -> int:
    body = b"".join(PART % n for n in range(count)) + b"--x--\r\n"
    environ = create_environ(method="POST", input_stream=BytesIO(body), content_type="multipart/form-data; boundary=x")
    environ["CONTENT_LENGTH"] = str(len(body))
    return len(Request(environ).form)


def exploit() -> bool:
    try:
        return _fields(1100) == 1100
    except RequestEntityTooLarge:
        return False


def regression() -> None:
    assert _fields(900) == 900
    decoder = HALF_READ.pop()
    decoder.receive_data(PART % 2 + b"--x--\r\n")
    decoder.receive_data(None)
    events = [decoder.next_event() for _ in range(4)]
    assert isinstance(events[-1], Epilogue) or any(isinstance(event, Epilogue) for event in events), events
