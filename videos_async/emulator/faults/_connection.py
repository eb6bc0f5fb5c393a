"""Faults below HTTP, done on the real socket."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs

from videos_async.emulator._checks import Choice, at_least, check, positive, whole_number

from ._base import Fault, Moment, Phase
from ._kinds import Answer, Delivering, Instead, Line

__all__ = ["Close", "Cut", "Delay", "Drip", "Framing", "Garbage", "Refuse", "Reset"]


@attrs.frozen
class Refuse(Fault):
    """The port is closed for a while: the kernel refuses every connection, nothing is read.

    That is what "connection refused" is, so it cannot be done to one call among many, only to a
    time: idle connections are closed, calls under way are answered and their connections closed.
    By default it begins at once. With ``nth=3`` it begins when two calls were taken up, so that
    the third would be the first to meet it; with a probability each call that was taken up may
    be followed by one.

    Attributes:
        seconds: How long the port stays closed, in virtual seconds.
    """

    seconds: float = attrs.field(default=1.0, validator=positive)

    def _check(self) -> None:
        rule = "left out: nothing is known of a call that was never read"
        for field in ("prompt", "task", "nth_of_task"):
            check(not getattr(self, field), field, rule, getattr(self, field))

    @property
    def is_immediate(self) -> bool:
        """Whether it begins as soon as it is in the script."""
        return self.probability == 1 and self.nth in ((), (1,))


@attrs.frozen
class Reset(Instead):
    """The connection is reset (RST) in place of an answer.

    With ``before="acceptance"`` the service did not take the call up, with ``after="acceptance"``
    it did; with ``after="headers"`` status line and headers of the answer have left.
    """

    AFTER = frozenset({Moment.ACCEPTANCE, Moment.HEADERS})

    async def take(self, line: Line, answer: Answer | None) -> None:
        """Reset."""
        if answer is not None and self.after is Moment.HEADERS:
            length = {"Content-Length": str(len(answer.content))}
            await line.send(line.head(answer, length))
        line.reset()


@attrs.frozen
class Close(Instead):
    """The connection is closed in order (FIN) in place of an answer.

    With ``after="headers"`` status line and headers have left, with ``after="answer"`` all of the
    answer: then the client learns of the end only when it wants to use the connection again.
    """

    AFTER = frozenset(Moment)

    async def take(self, line: Line, answer: Answer | None) -> None:
        """Close."""
        if answer is not None and self.after in {Moment.HEADERS, Moment.ANSWER}:
            content = answer.content
            head = line.head(answer, {"Content-Length": str(len(content))})
            if self.after is Moment.ANSWER:
                await line.send(head + content, is_last=True)
            else:
                await line.send(head)
        line.finish()


@attrs.frozen
class Garbage(Instead):
    """Bytes that are no HTTP come in place of an answer.

    Attributes:
        text: The bytes, as Latin-1.
    """

    text: str = attrs.field(default="SSH-2.0-OpenSSH_9.2\r\n")

    def _check(self) -> None:
        is_latin = all(ord(character) < 256 for character in self.text)
        check(self.text and is_latin, "text", "non-empty Latin-1", self.text)

    async def take(self, line: Line, answer: Answer | None) -> None:
        """Send it and close."""
        del answer
        await line.send(self.text.encode("latin-1"))
        line.finish()


@attrs.frozen
class Delay(Delivering):
    """The call is taken up at once and answered late.

    Attributes:
        seconds: How late, in virtual seconds.
    """

    seconds: float = attrs.field(validator=at_least(0))

    async def deliver(self, line: Line, answer: Answer) -> bool:
        """Wait."""
        del answer
        await line.sleep(self.seconds)
        return False


@attrs.frozen
class Drip(Delivering):
    """The answer comes in drops.

    Attributes:
        every: How long it takes to the next drop, in virtual seconds.
        size: Bytes a drop.
    """

    every: float = attrs.field(default=0.1, validator=positive)
    size: int = attrs.field(default=1, validator=whole_number(1))

    async def deliver(self, line: Line, answer: Answer) -> bool:
        """Send drop by drop."""
        content = answer.content
        whole = line.head(answer, {"Content-Length": str(len(content))}) + content
        for start in range(0, len(whole), self.size):
            if start:
                await line.sleep(self.every)
            await line.send(whole[start : start + self.size])
        line.finish()
        return True


class Framing(Choice):
    """How a client is to know where a body ends."""

    LENGTH = "length"
    """By ``Content-Length``."""
    CHUNKED = "chunked"
    """By the last chunk."""
    CLOSE = "close"
    """By the end of the connection, which looks the same where that broke."""


@attrs.frozen
class Cut(Delivering):
    """The connection ends in the middle of the body, which was announced whole.

    Attributes:
        at: How many bytes of the body are sent; where the body is no longer than that, all but
            its last.
        framing: What announces the whole: ``length``, ``chunked`` or ``close``.
    """

    PHASES: ClassVar[frozenset[Phase]] = frozenset(Phase)

    at: int = attrs.field(default=0, validator=whole_number(0))
    framing: Framing = attrs.field(default=Framing.LENGTH, converter=Framing)

    async def deliver(self, line: Line, answer: Answer) -> bool:
        """Send a part and close."""
        content = answer.content
        part = content[: min(self.at, max(len(content) - 1, 0))]
        headers: dict[str, Any] = {}
        if self.framing is Framing.LENGTH:
            headers["Content-Length"] = str(len(content))
        elif self.framing is Framing.CHUNKED:
            headers["Transfer-Encoding"] = "chunked"
            # The chunk announces the whole as well, so it is cut and not only the last one gone.
            part = b"%x\r\n%b" % (len(content), part)
        await line.send(line.head(answer, headers) + part)
        line.finish()
        return True
