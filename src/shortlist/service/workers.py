"""Settings to running processes: one that does everything, or several that share a port, a store and a bundle."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from shortlist.errors import SettingsError, ShortlistError
from shortlist.service.access import Tokens
from shortlist.service.logs import log_to_stderr
from shortlist.service.settings import ServiceSettings
from shortlist.service.state import open_state

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from uvicorn import Config

log = logging.getLogger("shortlist.service")

_SETTINGS = "SHORTLIST_SERVICE"  # the variable by which a worker process is told them
_STARTED, _FAILED = "started", "failed"  # files by which it says how its start went
_SILENT_S = 30  # a worker that says nothing for so long is ended; on a busy machine a start takes a while
_IDLE_S = 75  # that a connection may wait for its next request: longer than proxies keep one (nginx 60 s), which else meet a closed one
_CONNECTIONS = 65_536
_LOOK_S = 0.5  # how often a worker looks whether the process above it is there
_PAUSE_S = 2.0  # between tries to start a worker anew


def serve(settings: ServiceSettings) -> None:
    """Answer HTTP requests until told to stop: SIGTERM and SIGINT let what is being answered end.

    What is wrong with the settings, the files that they name or the port is said before anything is answered.
    """
    os.environ["OMP_NUM_THREADS"] = str(settings.threads)  # before the libraries that read it when they are loaded
    Tokens.read(settings.tokens)
    from shortlist.service.generation import newest

    newest(settings.bundle)
    _take_connections()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # whatever it does then: to be told to stop is no failure
    with _held(settings.own_folder), closing(_listener(settings)) as listener:
        open_state(settings.state_url).close()
        log_to_stderr(settings.log_level)
        (_serve_alone if settings.workers == 1 else _serve_together)(settings, listener)


def app_of_worker() -> Starlette:
    """The application of one of several processes.

    Where the first one cannot start, the service ends. Later, where others serve, one that cannot start tries again and again.
    """
    from shortlist.service.metrics import SHARED, forget_ended

    threading.Thread(target=_end_with, args=(os.getppid(),), name="shortlist-parent", daemon=True).start()
    settings = msgspec.json.decode(os.environ[_SETTINGS], type=ServiceSettings, dec_hook=_decoded)
    shared = Path(os.environ[SHARED])
    log_to_stderr(settings.log_level)
    forget_ended()
    try:
        app = _app(settings)
    except ShortlistError as error:
        if (shared / _STARTED).exists():
            log.error("a worker cannot start", extra={"why": str(error)})
            time.sleep(_PAUSE_S)
        else:
            (shared / _FAILED).write_text(str(error), encoding="utf-8")
            os.kill(os.getppid(), signal.SIGTERM)
        sys.exit(1)
    (shared / _STARTED).touch()
    return app


def _end_with(parent: int) -> None:
    """Stop this worker when the process above it is gone: nobody would stop it else, and it has the port."""
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _serve_alone(settings: ServiceSettings, listener: socket.socket) -> None:
    import uvicorn

    server = uvicorn.Server(_config(settings, _app(settings)))
    try:
        log.info("listens", extra=_address(listener))
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    except OSError as error:  # somebody else was faster
        if server.started:
            raise
        raise _taken(settings, error) from error


def _serve_together(settings: ServiceSettings, listener: socket.socket) -> None:
    from uvicorn.supervisors import Multiprocess

    from shortlist.service.metrics import SHARED

    shared = Path(tempfile.mkdtemp(prefix="shortlist-workers-"))
    os.environ[SHARED], os.environ[_SETTINGS] = str(shared), msgspec.json.encode(settings, enc_hook=str).decode()
    try:
        log.info("listens", extra=_address(listener))
        listener.set_inheritable(True)
        Multiprocess(_config(settings, f"{__name__}:app_of_worker"), sockets=[listener]).run()
        if (shared / _FAILED).exists():
            raise ShortlistError((shared / _FAILED).read_text(encoding="utf-8"))
    finally:
        shutil.rmtree(shared, ignore_errors=True)


def _config(settings: ServiceSettings, app: Starlette | str) -> Config:
    from uvicorn import Config

    from shortlist.service.connections import Connection

    return Config(
        app,
        factory=isinstance(app, str),
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody is told from another by an address
        http=Connection,
        timeout_keep_alive=_IDLE_S,
        timeout_graceful_shutdown=settings.stop_timeout_s,
        timeout_worker_healthcheck=_SILENT_S,
    )


def _take_connections() -> None:
    """Allow this process as many connections as the system lets it, of which it begins with a few."""
    if sys.platform != "win32":
        import resource

        now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _CONNECTIONS if most == resource.RLIM_INFINITY else min(most, _CONNECTIONS)
        if now != resource.RLIM_INFINITY and now < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep the service's folder from a second service, which would make this one serve its bundles."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"The service cannot keep its files in {folder}: {error.strerror or error}. Name another with --folder."
        ) from error
    with file:
        try:
            _lock(file)
        except BlockingIOError as error:
            file.seek(0)
            raise SettingsError(
                f"Another service (process {file.read() or 'unknown'}) uses {folder}. Stop it, or name another --folder; for "
                "more processes of one service there is --workers."
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _lock(file: TextIO) -> None:
    """Lock a file until this process ends, however it does."""
    if sys.platform != "win32":  # there nothing of the kind frees itself
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _listener(settings: ServiceSettings) -> socket.socket:
    """The socket of the service's address; nobody is let in before it listens, when everything is ready."""
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise SettingsError(f"The host {settings.host!r} is not known: {error.strerror or error}.") from error
    family, _, _, _, address = found[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _taken(settings, error) from error
    return listener


def _taken(settings: ServiceSettings, error: OSError) -> SettingsError:
    return SettingsError(
        f"Cannot listen on {settings.host}, port {settings.port}: {os.strerror(error.errno or 0)}. Name another --port or --host."
    )


def _address(listener: socket.socket) -> dict[str, Any]:
    host, port = listener.getsockname()[:2]
    return {"host": host, "port": port}


def _app(settings: ServiceSettings) -> Starlette:
    import torch

    from shortlist.service.app import create_app

    torch.set_num_threads(settings.threads)
    return create_app(settings)


def _decoded(kind: type, value: Any) -> Any:
    return Path(value) if kind is Path else value
