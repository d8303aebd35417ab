"""The commands in the guide to serving are run, in their order, against the service that it starts."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployed import ROOT, parsed

from shortlist.data.synthetic import make_shop
from shortlist.service.access import Tokens
from shortlist.service.metrics import Metrics

GUIDE = (ROOT / "docs" / "guides" / "serving.md").read_text()
COMMANDS: list[str] = re.findall(r"```sh\n(.*?)```", GUIDE, flags=re.DOTALL)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """The folder in which the guide's first commands were run, and the service's port."""
    folder = tmp_path_factory.mktemp("guide")
    shop = make_shop(users=100, items=160, events=1_800, seed=1)
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)
    here = Path.cwd()
    os.chdir(folder)
    try:
        exec(compile(code, "serving.md", "exec"), {"EVENTS": shop.events, "ITEMS": shop.items})
    finally:
        os.chdir(here)
    command = shlex.split(COMMANDS[0].replace("8000", "0"))
    assert command[:3] == ["shortlist", "serve", "bundles"]
    program = [sys.executable, "-c", "from shortlist.cli import main; main()"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*program, *command[1:]], cwd=folder, stderr=log, env=environment)
    try:
        until = time.monotonic() + 60
        while "Application startup complete" not in (folder / "log").read_text():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        (port,) = re.findall(r'"message":"listens".*"port":(\d+)', (folder / "log").read_text())
        yield folder, int(port)
    finally:
        process.terminate()
        process.wait(20)


def _version(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready") as answer:
        version: str = json.load(answer)["versions"]["model"]
        return version


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on PATH")
def test_the_commands_of_the_guide_do_what_they_say(served: tuple[Path, int]) -> None:
    folder, port = served
    shell = 'set -euo pipefail\ncurl() { command curl -sS --fail-with-body "$@"; echo; }\n'
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
    }
    said = ""
    for block in COMMANDS:
        if block.startswith("shortlist serve"):
            for line in block.splitlines():
                parsed(shlex.split(line)[1:])
            continue
        before = _version(port)
        script = shell + block.replace("localhost:8000", f"127.0.0.1:{port}")
        done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, (block, done.stdout, done.stderr)
        said += done.stdout
        if "--out bundles/" in block:  # it is swapped in by itself
            until = time.monotonic() + 20
            while _version(port) == before:
                assert time.monotonic() < until
                time.sleep(0.05)
    for told in re.findall(r"`(\{\"stored\":\d,\"duplicates\":\d),…\}`|`(\{\"revision\":\d\})`", GUIDE):
        assert "".join(told) in said, told
    (answer,) = re.findall(r"```json\n(.*?)```", GUIDE, flags=re.DOTALL)
    fields = set(json.loads(answer))
    assert fields == set(json.loads(next(line for line in said.splitlines() if '"source"' in line)))


def test_the_guides_tokens_are_read_and_its_metrics_are_there(tmp_path: Path) -> None:
    (tokens,) = re.findall(r"```toml\n(.*?)```", GUIDE, flags=re.DOTALL)
    (tmp_path / "tokens.toml").write_text(tokens)
    assert Tokens.read(tmp_path / "tokens.toml").find("Bearer shop-token")[0] == "shop"
    there = {line.split()[2] for line in Metrics().text().decode().splitlines() if line.startswith("# TYPE")}
    told = set(re.findall(r"`(shortlist_\w+)`", GUIDE))
    assert told == {name for name in there if not name.endswith("_created")}
