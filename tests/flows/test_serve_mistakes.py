"""What keeps a service from starting is one line that says what to do, and exit code 2."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shortlist.errors import BundleError, SettingsError, ShortlistError
from shortlist.service import ServiceSettings, serve
from shortlist.service.workers import _held

PROGRAM = [sys.executable, "-c", "from shortlist.cli import main; main()", "serve"]


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # which serving sets: restored afterwards


def _damaged(bundle: Path, folder: Path) -> Path:
    shutil.copytree(bundle, folder / "damaged")
    with (folder / "damaged" / "model.safetensors").open("ab") as file:
        file.write(b"x")
    return folder / "damaged"


@pytest.mark.parametrize(
    ("changed", "kind", "words"),
    [
        ({"bundle": Path("nowhere")}, BundleError, "There is no bundle nowhere"),
        ({"tokens": Path("nothing.toml")}, SettingsError, "nothing.toml cannot be read"),
        ({"host": "0.0.0.0"}, SettingsError, "Give --tokens FILE"),
        ({"host": "no host", "is_open": True}, SettingsError, "'no host' is not known"),
        ({"host": "192.0.2.1", "is_open": True}, SettingsError, "Cannot listen on 192.0.2.1"),
        ({"threads": 0}, SettingsError, "threads is 0"),
        ({"state": "carrier://pigeon"}, SettingsError, "no address of a state"),
        ({"folder": Path(__file__)}, SettingsError, "Name another with --folder"),
        ({"folder": Path("/proc/nothing")}, SettingsError, "cannot keep its files in /proc/nothing"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    shop_files: Any, tmp_path: Path, changed: dict[str, Any], kind: type[ShortlistError], words: str
) -> None:
    usual = {"bundle": shop_files.bundle, "folder": tmp_path / "service", "port": 0}
    with pytest.raises(kind, match=words):
        serve(ServiceSettings(**(usual | changed)))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_in_use_is_said_before_anything_is_loaded(shop_files: Any, tmp_path: Path, workers: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SettingsError, match=f"port {port}: Address already in use"):
            serve(ServiceSettings(_damaged(shop_files.bundle, tmp_path), port=port, workers=workers))


def test_a_folder_has_one_service(shop_files: Any, tmp_path: Path) -> None:
    settings = ServiceSettings(shop_files.bundle, folder=tmp_path / "service", port=0)
    with _held(settings.own_folder), pytest.raises(SettingsError, match=r"Another service \(process \d+\)"):
        serve(settings)
    with _held(settings.own_folder):  # free again
        pass


def test_a_damaged_bundle_is_refused(shop_files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shortlist.service.workers.log_to_stderr", lambda level: None)
    with pytest.raises(BundleError, match="is not what the bundle was written with"):
        serve(ServiceSettings(_damaged(shop_files.bundle, tmp_path), port=0))


def test_a_damaged_bundle_ends_all_workers_with_one_line(shop_files: Any, tmp_path: Path) -> None:
    bundle = _damaged(shop_files.bundle, tmp_path)
    command = [*PROGRAM, str(bundle), "--port", "0", "--workers", "2", "--log-level", "warning"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {bundle}/model.safetensors is not what the bundle was written with")
