"""The body of a request, read within bounds of size and time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from salus.serve.problems import ProblemDetailsError
from salus.serve.reading import MAX_FILES
from salus.serve.timing import within


async def read_within(request: Request, *, most: int, seconds: float, take: Callable[[int], None]) -> bytes:
    """Read a request's body.

    Args:
        request: whose.
        most: bytes that it may have.
        seconds: in which it must arrive.
        take: is told of more bytes, and refuses when there are too many in hand.

    Raises:
        ProblemDetailsError: it is too large, or arrives too slowly.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise _too_large(most)
    try:
        return await within(_read(request, most, take), seconds)
    except TimeoutError as error:
        raise ProblemDetailsError(
            "timeout", f"The request did not arrive within {seconds:g} seconds; send it faster."
        ) from error


async def _read(request: Request, most: int, take: Callable[[int], None]) -> bytes:
    pieces, size = [], 0
    async for piece in request.stream():
        take(len(piece))
        size += len(piece)
        if size > most:
            raise _too_large(most)
        pieces.append(piece)
    return b"".join(pieces)


async def form_files(request: Request, body: bytes) -> list[tuple[str, bytes]]:
    """Take the files out of a form.

    Raises:
        ProblemDetailsError: it is none, or holds something else.
    """

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser = _Form(request.headers, stream(), max_files=MAX_FILES, max_fields=0)
    try:
        form = await parser.parse()
        if not parser.complete:
            raise ProblemDetailsError("bad-request", "The form ends before its closing boundary; send it whole.")
        parts = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
        return [(part.filename or "", await part.read()) for part in parts]
    except (MultiPartException, KeyError, ValueError, UnicodeError) as error:
        reason = str(getattr(error, "message", error)) or type(error).__name__
        raise ProblemDetailsError(
            "bad-request", f"The form cannot be read ({reason[:200].rstrip('.')}); send files alone."
        ) from error
    finally:
        parser.close()


class _Form(MultiPartParser):
    """A form that knows whether its end came, and leaves no file open when it did not."""

    complete = False

    def on_end(self) -> None:
        """Take note of the end."""
        self.complete = True

    def close(self) -> None:
        """Let go of all files."""
        for file in self._files_to_close_on_error:
            file.close()


def _too_large(most: int) -> ProblemDetailsError:
    return ProblemDetailsError("too-large", f"The request has more than {most} bytes; send less at a time.")
