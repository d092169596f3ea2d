"""The broker of files: whole messages only, and no litter."""

import os
from pathlib import Path

import pytest
from kombu import Connection
from pytest_django import Settings

from backend import tasks


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, object]:
    for name in ("queue", "control", "processed"):
        (tmp_path / name).mkdir()
    return {
        "data_folder_in": str(tmp_path / "queue"),
        "data_folder_out": str(tmp_path / "queue"),
        "control_folder": str(tmp_path / "control"),
        "processed_folder": str(tmp_path / "processed"),
        "store_processed": True,
    }


def test_messages_pass_in_order_by_an_unreadable_one(folders: dict[str, object], tmp_path: Path):
    queue = tmp_path / "queue"
    with Connection(
        "filesystem://localhost", transport="backend.broker:Transport", transport_options=folders
    ) as connection:
        line = connection.SimpleQueue("celery")
        line.put({"n": 1})
        (queue / "0_half-written.celery.msg").write_text("")
        (queue / "0_cut.celery.msg").write_bytes(b'{"body": "\xff')
        line.put({"n": 2})

        messages = [line.get(timeout=5) for _ in range(2)]
        assert [message.payload for message in messages] == [{"n": 1}, {"n": 2}]
        for message in messages:
            message.ack()
        assert list(queue.iterdir()) == []


@pytest.mark.django_db
def test_handled_messages_are_forgotten_after_a_while(
    folders: dict[str, object], tmp_path: Path, settings: Settings
):
    settings.REDIS_URL = ""
    settings.CELERY_BROKER_TRANSPORT_OPTIONS = folders
    young, old = (tmp_path / "processed" / f"{name}.celery.msg" for name in ("young", "old"))
    young.touch()
    old.touch()
    os.utime(old, (0, 0))

    tasks.keep_house()

    assert (young.exists(), old.exists()) == (True, False)
