"""Settings to running processes: one that does everything, or several that share a port, a store and a bundle."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from shortlist.service.logs import log_to_stderr
from shortlist.service.metrics import SHARED
from shortlist.service.settings import ServiceSettings

if TYPE_CHECKING:
    from starlette.applications import Starlette

_SETTINGS = "SHORTLIST_SERVICE"  # the variable by which a worker process is told them


def serve(settings: ServiceSettings) -> None:
    """Answer HTTP requests until told to stop: SIGTERM and SIGINT let what is being answered end."""
    os.environ["OMP_NUM_THREADS"] = str(settings.threads)  # before the libraries that read it when they are loaded
    import uvicorn

    from shortlist.service.generation import newest

    newest(settings.bundle)
    options: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "timeout_graceful_shutdown": settings.stop_timeout_s,
    }
    log_to_stderr(settings.log_level)
    if settings.workers == 1:
        uvicorn.run(_app(settings), **options)
        return
    figures = tempfile.mkdtemp(prefix="shortlist-figures-")
    os.environ[SHARED], os.environ[_SETTINGS] = figures, msgspec.json.encode(settings, enc_hook=str).decode()
    try:
        uvicorn.run(f"{__name__}:app_of_worker", factory=True, workers=settings.workers, **options)
    finally:
        shutil.rmtree(figures, ignore_errors=True)


def app_of_worker() -> Starlette:
    """The application of one of several processes."""
    settings = msgspec.json.decode(os.environ[_SETTINGS], type=ServiceSettings, dec_hook=_decoded)
    log_to_stderr(settings.log_level)
    return _app(settings)


def _app(settings: ServiceSettings) -> Starlette:
    import torch

    from shortlist.service.app import create_app

    torch.set_num_threads(settings.threads)
    return create_app(settings)


def _decoded(kind: type, value: Any) -> Any:
    return Path(value) if kind is Path else value
