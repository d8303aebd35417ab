"""A token brings exactly its rights; whoever listens where others can reach needs tokens."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from shortlist.errors import SettingsError
from shortlist.service.access import Tokens
from shortlist.service.settings import ServiceSettings


def write(path: Path, *tokens: tuple[str, str, list[str]]) -> Path:
    parts = [
        f'[[token]]\nname = "{name}"\nsha256 = "{hashlib.sha256(token.encode()).hexdigest()}"\nrights = {rights!r}\n'
        for name, token, rights in tokens
    ]
    path.write_text("\n".join(parts).replace("'", '"'))
    return path


def test_a_token_brings_its_rights_and_no_other(tmp_path: Path) -> None:
    tokens = Tokens.read(
        write(tmp_path / "t.toml", ("shop", "s3cret", ["recommend", "write"]), ("ops", "0ps", ["admin"]))
    )
    assert tokens.find("Bearer s3cret") == ("shop", frozenset({"recommend", "write"}))
    assert tokens.find("bearer 0ps") == ("ops", frozenset({"admin"}))
    for wrong in (None, "", "Bearer", "Bearer s3cre", "Bearer s3cret2", "Basic s3cret", "s3cret", "Bearer \udcff"):
        assert tokens.find(wrong) == (None, frozenset())


def test_without_a_file_everybody_may_do_everything() -> None:
    assert Tokens.read(None).find(None) == (None, frozenset({"recommend", "write", "admin"}))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("token = 3", "no file of tokens"),
        ("[[token]]\nname = 'a'\nsha256 = 'xyz'\nrights = []", "no file of tokens"),
        ("[[token]]\nname = 'a'\nsha256 = 'abcd'\nrights = []", "no SHA-256"),
        ("[[token]]\nname = 'a'\nsha256 = 'ab'\nrights = ['root']", "no file of tokens"),
        ("[[token]]\nname = 'a'\npassword = 'ab'\nsha256 = 'ab'\nrights = []", "password"),
        ("not toml", "no file of tokens"),
    ],
)
def test_a_file_that_says_something_else_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "t.toml").write_text(text)
    with pytest.raises(SettingsError, match=problem):
        Tokens.read(tmp_path / "t.toml")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        Tokens.read(tmp_path / "none.toml")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_where_others_can_reach_it_tokens_are_needed_or_said_not_to_be(host: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="tokens"):
        ServiceSettings(bundle=tmp_path, host=host)
    ServiceSettings(bundle=tmp_path, host=host, is_open=True)
    ServiceSettings(bundle=tmp_path, host=host, tokens=tmp_path / "t.toml")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.3.2.1"])
def test_on_this_machine_alone_no_tokens_are_needed(host: str, tmp_path: Path) -> None:
    assert ServiceSettings(bundle=tmp_path, host=host).tokens is None
