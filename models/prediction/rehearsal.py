"""Whether an order can be carried out, found in a process of its own before anything is on record."""

from __future__ import annotations

from multiprocessing.connection import Connection

from annotation.errors import PathquorumError
from annotation.logs import configured
from annotation.terminal import one_line
from models.errors import PredictionError
from models.prediction.starting import starting
from models.prediction.work_order import WorkOrder
from models.prediction.worker_messages import Fault, receive, send

__all__ = ["rehearse"]


def rehearse(order: WorkOrder) -> None:
    """Load the models and the encoder of an order once.

    Raises
    ------
    PredictionError
        They can't be used, or not together.
    """
    context = starting()
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_open, args=(order, there), daemon=True)
    process.start()
    there.close()
    try:
        message = receive(here)
    except EOFError:
        message = None
    process.join()
    if isinstance(message, Fault) and message.error:
        raise PredictionError(message.error)
    if message is None:
        raise PredictionError(
            f"the models can't be loaded: the process that tried died (status {process.exitcode}); "
            "what it said stands above"
        )


def _open(order: WorkOrder, pipe: Connection) -> None:
    with configured(as_json=order.log_json):
        try:
            order.opening(order)
        except (PathquorumError, OSError) as error:
            send(pipe, Fault(one_line(str(error))))
        else:
            send(pipe, Fault(""))
