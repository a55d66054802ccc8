"""What a worker tells its supervisor, as JSON through a pipe; what comes back is the word `stop`."""

from __future__ import annotations

from multiprocessing.connection import Connection

import msgspec

from annotation.logs import log
from models.prediction.claims import DONE, FAILED

__all__ = [
    "STOP",
    "Beat",
    "Fault",
    "Leaving",
    "Message",
    "SlideEnded",
    "log_ended",
    "receive",
    "send",
]

STOP = b"stop"


class Beat(msgspec.Struct, frozen=True, tag="beat"):
    """A sign of life.

    Attributes
    ----------
    phase, slide, done, total
        What is done, and how many tiles of the slide are.
    tiles
        Predicted since the worker began.
    ahead, to_write
        Tiles read and not yet predicted; slides predicted and not yet written.
    silent_s
        Since anything last went on.
    """

    worker: str
    phase: str
    slide: str
    done: int
    total: int
    tiles: int
    ahead: int
    to_write: int
    silent_s: float


class SlideEnded(msgspec.Struct, frozen=True, tag="slide"):
    """An attempt at a slide ended; see :class:`models.prediction.slide_work.Ended`."""

    slide: str
    state: str
    attempt: int
    elapsed_s: float
    tiles: int
    reason: str


class Leaving(msgspec.Struct, frozen=True, tag="leaving"):
    """The worker ends by itself and wants to be replaced."""

    reason: str


class Fault(msgspec.Struct, frozen=True, tag="fault"):
    """Nothing can be predicted with these models, this store or this folder."""

    error: str


Message = Beat | SlideEnded | Leaving | Fault

_decoder = msgspec.json.Decoder(Message)


def send(pipe: Connection, message: Message) -> None:
    """Send a message."""
    pipe.send_bytes(msgspec.json.encode(message))


def receive(pipe: Connection) -> Message:
    """Receive a message.

    Raises
    ------
    EOFError
        The other end is closed.
    """
    message: Message = _decoder.decode(pipe.recv_bytes())
    return message


def log_ended(slide: SlideEnded) -> None:
    """Log the end of an attempt."""
    facts = {
        "slide": slide.slide,
        "attempt": slide.attempt,
        "elapsed_s": round(slide.elapsed_s, 3),
    }
    if slide.state == DONE:
        log.info("slide predicted", tiles=slide.tiles, **facts)
    elif slide.state == FAILED:
        log.warning("slide failed", reason=slide.reason, **facts)
    else:
        log.info("slide not done", state=slide.state, reason=slide.reason, **facts)
