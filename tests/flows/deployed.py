"""What stands in deploy/, read, and nginx with its configuration on this machine."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import yaml

from shortlist.cli import app

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def compose() -> dict[str, Any]:
    """The compose file."""
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


def unit(name: str) -> dict[str, list[str]]:
    """The settings of a systemd unit, with continued lines joined; a setting may come several times."""
    text = (DEPLOY / "systemd" / name).read_text().replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", text, flags=re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def instructions() -> list[tuple[str, str]]:
    """The lines of the Containerfile."""
    text = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if re.match(r"[A-Z]", line)]


def parsed(command: Sequence[str]) -> dict[str, Any]:
    """The values that ``shortlist COMMAND`` would get; options that it does not know are an error."""
    verb, *arguments = command
    found = app.commands[verb]
    assert isinstance(found, click.Command)
    return dict(found.make_context(verb, list(arguments)).params)


def exec_start(name: str) -> list[str]:
    """The command of a unit."""
    (line,) = unit(name)["ExecStart"]
    return shlex.split(line)


def nginx_config(folder: Path, *, port: int, replicas: Sequence[int]) -> Path:
    """deploy/nginx.conf with addresses and files of this machine; nothing else is changed."""
    text = (DEPLOY / "nginx.conf").read_text()
    for number, replica in enumerate(replicas, start=1):
        text, count = re.subn(rf"\brecommend-{number}:8000\b", f"127.0.0.1:{replica}", text)
        assert count == 1
    text, count = re.subn(r"\blisten 8080;", f"listen 127.0.0.1:{port};", text)
    assert count == 1
    for usual, here in (
        ("/var/run/nginx.pid", folder / "nginx.pid"),
        ("/dev/stderr", folder / "error.log"),
        ("/dev/stdout", folder / "access.log"),
    ):
        assert usual in text
        text = text.replace(usual, str(here))
    temporary = "".join(f"    {kind}_temp_path {folder}/{kind};\n" for kind in TEMPORARY)
    text = text.replace("http {\n", f"http {{\n{temporary}")
    if os.geteuid() == 0:  # the folders of tests are their owner's alone
        text = f"user root;\n{text}"
    (folder / "nginx.conf").write_text(text)
    return folder / "nginx.conf"


@contextmanager
def running_nginx(config: Path) -> Iterator[None]:
    """nginx with a configuration, until the block ends."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program is not None
    process = subprocess.Popen(
        [program, "-c", str(config), "-e", str(config.parent / "error.log"), "-g", "daemon off;"]
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def has_nginx() -> bool:
    """Whether there is one; Debian's package is nginx."""
    return shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") is not None
