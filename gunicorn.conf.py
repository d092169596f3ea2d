"""How gunicorn serves: `gunicorn backend.wsgi` in this folder finds this file by itself."""

import gc
import os

import environ

from backend.logs import logging_settings

host = (os.environ.get("BIND") or "127.0.0.1").strip("[]")
bind = f"{f'[{host}]' if ':' in host else host}:{os.environ.get('PORT') or '8000'}"
workers = int(os.environ.get("WEB_WORKERS") or "2")
worker_class = "sync"
preload_app = True  # a refusal to start is said once, and workers share what they load
timeout = 30  # longer than SQLite waits for its lock and PostgreSQL lets a statement run
graceful_timeout = 20
max_requests = 10_000
max_requests_jitter = 1_000
keepalive = 5
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108 - a heartbeat file
accesslog = None  # the line of each request comes from RequestIdMiddleware
control_socket_disable = True
logconfig_dict = logging_settings(for_people=environ.Env().bool("DEBUG", default=False))


def when_ready(server: object) -> None:
    """What is loaded by now stays, so workers need not look it through, and go on sharing it.

    What a request makes is nearly all gone with it, without being looked for: the usual threshold
    of 700 would look once in each.
    """
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
