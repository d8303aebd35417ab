"""How a service is run: where it listens, what it keeps, whom it lets in, and how much it takes on."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from shortlist.errors import SettingsError

MOST_BYTES = 64 * 1024  # of a request's body
STATE_FILE = "state.db"  # in the service's folder


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """Settings of ``shortlist serve``.

    ``bundle`` is a bundle, or a folder of bundles of which the newest is served; with ``watch`` newer ones take over as they
    come. ``folder`` keeps the service's own files (events, changes of items, which bundle is served); None: beside the bundle.
    ``state`` is the URL of another store of events, such as ``redis://host:6379/0``. ``tokens`` is a TOML file, see
    :class:`~shortlist.service.access.Tokens`; without it everybody may do everything, which on an address that others can
    reach is refused unless ``is_open`` says that it is meant.
    """

    bundle: Path
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    threads: int = 1  # that one worker computes with; more of them wait for each other where the cores have other work
    watch: bool = False
    folder: Path | None = None
    state: str | None = None
    tokens: Path | None = None
    is_open: bool = False
    log_level: str = "info"  # "warning" leaves out the line for each request
    most_waiting: int = 32  # requests that wait to be answered; further ones are told to come again (429)
    most_together: int = 32  # requests that are answered as one batch
    body_timeout_s: float = 5.0  # until a request's body has come
    slow_timeout_s: float = 10.0  # for requests that are answered alone, in a thread
    stop_timeout_s: int = 8  # for what is being answered when the service is told to stop
    poll_s: float = 0.1  # how often changes of items and of bundles made elsewhere are looked for

    def __post_init__(self) -> None:
        for name, least in (
            ("port", 0),
            ("workers", 1),
            ("threads", 1),
            ("most_waiting", 1),
            ("most_together", 1),
            ("stop_timeout_s", 1),
        ):
            if getattr(self, name) < least:
                raise SettingsError(f"{name} is {getattr(self, name)}. It is a whole number from {least}.")
        if self.port > 65535:
            raise SettingsError(f"port is {self.port}. It is at most 65535.")
        if self.tokens is None and not self.is_open and not _is_loopback(self.host):
            raise SettingsError(
                f"{self.host} can be reached by others, and without tokens all of them could read, write and administer. Give "
                "--tokens FILE, or say --open where something in front of it keeps them out."
            )

    @property
    def own_folder(self) -> Path:
        """Where the service's own files are."""
        if self.folder is not None:
            return self.folder
        bundle = self.bundle.absolute()
        return bundle.with_name(f"{bundle.name}.service")

    @property
    def state_url(self) -> str:
        """The store of events and of changes of items."""
        return f"sqlite:///{self.own_folder / STATE_FILE}" if self.state is None else self.state


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
