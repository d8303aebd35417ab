"""What stands in deploy/ is told what our command line takes, and names only what is there."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from deployed import DEPLOY, ROOT, compose, exec_start, has_nginx, instructions, nginx_config, parsed, unit
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

import shortlist as sl
from shortlist.service import ServiceSettings
from shortlist.service.access import RIGHTS, Tokens
from shortlist.service.app import create_app
from shortlist.service.generation import newest

UNITS = ("shortlist.service", "shortlist-nightly.service", "shortlist-nightly.timer")
REPLICAS = ("recommend-1", "recommend-2")


@pytest.fixture(scope="module")
def nightly() -> ModuleType:
    spec = importlib.util.spec_from_file_location("nightly", DEPLOY / "nightly.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_systemd_takes_the_units_and_finds_them_well_locked_up(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("there is no systemd-analyze on PATH; Debian's package is systemd")
    for name in UNITS:
        text = (DEPLOY / "systemd" / name).read_text()
        (tmp_path / name).write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    done = subprocess.run([program, "verify", *(tmp_path / name for name in UNITS)], capture_output=True, text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    for name in UNITS[:2]:  # from 0, closed, to 10, open, in tenths
        command = [program, "security", "--offline=yes", "--threshold=20", tmp_path / name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-300:]


def test_the_units_run_commands_of_ours(nightly: ModuleType) -> None:
    program, *command = exec_start("shortlist.service")
    assert program == "/opt/shortlist/bin/shortlist"
    told = parsed(command)
    settings = ServiceSettings(bundle=told["bundle"], host=told["host"], tokens=told["tokens"], folder=told["folder"])
    assert told["watch"]
    assert int(unit("shortlist.service")["TimeoutStopSec"][0]) > settings.stop_timeout_s
    credential, _, _ = unit("shortlist.service")["LoadCredential"][0].partition(":")
    assert told["tokens"] == Path("${CREDENTIALS_DIRECTORY}", credential)
    state = Path("/var/lib", unit("shortlist.service")["StateDirectory"][0])
    python, script, *arguments = exec_start("shortlist-nightly.service")
    assert (python, Path(script).name) == ("/opt/shortlist/bin/python", "nightly.py")
    asked = nightly.options().parse_args(arguments)
    assert (asked.bundles, asked.folder) == (told["bundle"], told["folder"])
    for path in (asked.bundles, asked.folder, asked.events, asked.items):
        assert state in path.parents
    for installed in re.findall(
        r"(?:install|cp) .*?(deploy/[\w./*-]+)", (DEPLOY / "systemd/shortlist.service").read_text()
    ):
        assert list(ROOT.glob(installed)), installed


def test_the_image_is_made_of_what_is_there_and_starts_our_command() -> None:
    lines = instructions()
    for kind, rest in lines:
        if kind == "COPY" and not rest.startswith("--from"):
            assert all((ROOT / source).exists() for source in rest.split()[:-1]), rest
    (installs,) = (rest for kind, rest in lines if kind == "RUN" and "pip install" in rest)
    (command,) = re.findall(r"pip install .*", installs)
    assert command.replace("'.[redis]'", ".") in (ROOT / "README.md").read_text()
    last = dict(lines)
    assert last["USER"] == "shortlist"
    assert json.loads(last["ENTRYPOINT"]) == ["shortlist"]
    told = parsed(json.loads(last["CMD"]))
    assert str(told["port"]) == last["EXPOSE"]
    assert [str(told["folder"])] == json.loads(last["VOLUME"])
    ServiceSettings(bundle=told["bundle"], host=told["host"], tokens=told["tokens"])
    check = json.loads(last["HEALTHCHECK"].partition("CMD ")[2])
    ast.parse(check[2])
    assert check[:2] == ["python", "-c"]
    assert f"http://127.0.0.1:{told['port']}/health/ready" in check[2]


def test_the_compose_file_agrees_with_itself_and_with_the_files_beside_it(nightly: ModuleType) -> None:
    file = compose()
    services, volumes = file["services"], set(file["volumes"])
    (image_port,) = (rest for kind, rest in instructions() if kind == "EXPOSE")
    given_by_the_user = {Path("../bundles"), Path("../incoming")}
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= set(services), name
        assert set(service.get("networks", [])) <= set(file["networks"]), name
        for mounted in service.get("volumes", []):
            source = mounted.split(":")[0]
            is_there = (DEPLOY / source).exists() if source.startswith(".") else source in volumes
            assert is_there or Path(source) in given_by_the_user, (name, mounted)
        for other, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in services[other] or services[other]["image"] == "shortlist"
    for name in REPLICAS:
        told = parsed(services[name]["command"])
        assert str(told["port"]) == image_port
        assert told["state"] == "redis://redis:6379/0"
        assert Path("/run/secrets", *services[name]["secrets"]) == told["tokens"]
        assert {mounted.split(":")[1] for mounted in services[name]["volumes"]} == {
            str(told["bundle"]),
            str(told["folder"]),
        }
        assert int(services[name]["stop_grace_period"].removesuffix("s")) > ServiceSettings(Path("x")).stop_timeout_s
    assert {name: (DEPLOY / secret["file"]).exists() for name, secret in file["secrets"].items()} == {
        "tokens.toml": True
    }
    asked = nightly.options().parse_args(services["nightly"]["command"])
    assert (asked.bundles, asked.folder) == (told["bundle"], told["folder"])
    text = (DEPLOY / "nginx.conf").read_text()
    assert re.findall(r"server ([\w.-]+):(\d+)", text) == [(name, image_port) for name in REPLICAS]
    (port,) = re.findall(r"^ *listen (\d+);", text, flags=re.MULTILINE)
    assert services["nginx"]["ports"] == [f"{port}:{port}"]


def test_nginx_takes_its_configuration_and_reads_as_much_as_the_service(tmp_path: Path) -> None:
    assert re.findall(r"client_max_body_size (\d+)k", (DEPLOY / "nginx.conf").read_text()) == ["64"]
    if not has_nginx():
        pytest.skip("there is no nginx on PATH or in /usr/sbin; Debian's package is nginx")
    config = nginx_config(tmp_path, port=8080, replicas=(8001, 8002))
    command = ["/usr/sbin/nginx", "-t", "-q", "-c", config, "-e", tmp_path / "error.log"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_tokens_are_read_and_the_examples_admit_nobody() -> None:
    tokens = Tokens.read(DEPLOY / "tokens.toml")
    assert tokens.find("Bearer shop") == (None, frozenset())
    told = re.findall(r"^rights = (.*)$", (DEPLOY / "tokens.toml").read_text(), flags=re.MULTILINE)
    assert set().union(*map(json.loads, told)) == RIGHTS


def test_prometheus_is_told_of_figures_that_are_there(shop_files: Any, tmp_path: Path) -> None:
    (scraped,) = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    assert scraped["static_configs"] == [{"targets": [f"{name}:8000" for name in REPLICAS]}]
    with TestClient(create_app(ServiceSettings(shop_files.bundle, folder=tmp_path / "service"))) as client:
        client.post("/recommend", json={"user_id": "nobody"})
        text = client.get(scraped["metrics_path"]).text
        text = client.get(scraped["metrics_path"]).text  # with the first one's figures
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found: dict[str, dict[str, set[str]]] = {}
    for sample in samples:
        for label, value in sample.labels.items():
            found.setdefault(sample.name, {}).setdefault(label, set()).add(value)
        found.setdefault(sample.name, {})
    (group,) = yaml.safe_load((DEPLOY / "prometheus/shortlist.rules.yml").read_text())["groups"]
    assert len(group["rules"]) > 5
    for rule in group["rules"]:
        used = re.findall(r"(shortlist_\w+)(?:\{([^}]*)\})?", rule["expr"])
        assert used or 'up{job="shortlist"}' in rule["expr"], rule["alert"]
        assert rule["expr"].count("(") == rule["expr"].count(")")
        for name, matchers in used:
            assert name in found, (rule["alert"], name)
            for label, how, value in re.findall(r'(\w+)(=~?)"([^"]*)"', matchers):
                assert label in found[name], (rule["alert"], label)
                assert how == "=~" or value in found[name][label], (rule["alert"], value)
        for name in re.findall(r"shortlist_\w+", rule["annotations"]["summary"]):
            assert name in found or f"{name}_count" in found, (rule["alert"], name)


def _at_night(nightly: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["nightly.py", *map(str, arguments)])
    code: int = nightly.main()
    return code


def test_a_night_goes_on_from_what_is_served_and_removes_old_bundles_of_its_own(
    shop_files: Any, tmp_path: Path, nightly: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles, service = tmp_path / "bundles", tmp_path / "service"
    served = bundles / "2020-01-01T000000"
    recommender = sl.load(shop_files.bundle)
    recommender.refresh(remove=recommender.dataset.encoders.items.ids[:1].tolist()).save(served)
    for name in ("2020-01-02T000000", "2020-01-03T000000", "by hand"):
        shutil.copytree(shop_files.bundle, bundles / name)
    with TestClient(create_app(ServiceSettings(bundles, folder=service))) as client:
        client.post("/admin/reload", json={"bundle": str(served)})
    told = (bundles, "--folder", service, "--keep", "2", "--items", shop_files.items)
    assert _at_night(nightly, monkeypatch, *told) == 0
    old, kept, new, by_hand = sorted(bundles.iterdir())
    assert (old, kept.name, by_hand.name) == (served, "2020-01-03T000000", "by hand")
    assert sl.load(new).dataset.notes[-2:] == (*sl.load(served).dataset.notes[-1:], "items.parquet: 0 items added, 160 known ones changed")  # fmt: skip


def test_a_night_trains_on_what_came_to_the_service(
    shop_files: Any, tmp_path: Path, nightly: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles, service = tmp_path / "bundles", tmp_path / "service"
    shutil.copytree(shop_files.bundle, bundles / "first")
    before = sl.load(shop_files.bundle).dataset
    assert before.events.times is not None
    later = int(before.events.times.max()) + 60
    with TestClient(create_app(ServiceSettings(bundles, folder=service))) as client:
        events = [{"user_id": f"u{n:04d}", "item_id": f"i{n:04d}", "timestamp": later + n} for n in range(1, 21)]
        assert client.post("/events", json={"events": events}).json()["stored"] == 20
    assert _at_night(nightly, monkeypatch, bundles, "--folder", service, "--stored") == 0
    new, _ = newest(bundles)
    assert len(sl.load(new).dataset.events) == len(before.events) + 20


def test_a_night_without_news_fails_and_leaves_everything(
    shop_files: Any, tmp_path: Path, nightly: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    shutil.copytree(shop_files.bundle, tmp_path / "bundles" / "first")
    told = (tmp_path / "bundles", "--folder", tmp_path, "--events", tmp_path / "none.csv")
    assert _at_night(nightly, monkeypatch, *told) == 2
    assert capsys.readouterr().err.startswith("error: Neither --events nor --items is there")
    assert [path.name for path in (tmp_path / "bundles").iterdir()] == ["first"]
