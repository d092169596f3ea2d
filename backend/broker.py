"""Celery's file broker, made fit for service: a message is there whole, or not at all.

As it comes, the transport creates a file and then fills it. A reader in between finds it empty, and
a message that cannot be read ends the worker.
"""

import logging
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from kombu.transport import filesystem
from kombu.utils.json import dumps

log = logging.getLogger(__name__)


class Channel(filesystem.Channel):
    """The signatures are those of the parent, which differ from those of its own parent."""

    def _put(self, queue: str, payload: dict[str, Any], **_: Any) -> None:  # type: ignore[override]
        folder = Path(self.data_folder_out)
        draft = folder / f"{uuid4()}.draft"
        draft.write_text(dumps(payload))
        draft.rename(folder / f"{time.time_ns()}_{uuid4()}.{queue}.msg")

    def _get(self, queue: str) -> dict[str, Any]:  # type: ignore[override]
        while True:
            try:
                message = super()._get(queue)
            except ValueError:  # it lies among the handled ones now
                log.warning("an unreadable message was set aside")
            else:
                return message


class Transport(filesystem.Transport):
    Channel = Channel
