"""A request's bearer token to what its bearer may do."""

from __future__ import annotations

import hashlib
import hmac
import tomllib
from pathlib import Path
from typing import Literal, get_args

import msgspec

from shortlist.errors import SettingsError

Right = Literal["recommend", "write", "admin"]
RIGHTS: frozenset[Right] = frozenset(get_args(Right))


class _Token(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    sha256: str
    rights: list[Right]


class _File(msgspec.Struct, forbid_unknown_fields=True):
    token: list[_Token]


class Tokens:
    """Who may do what. Tokens are kept, and compared, as digests.

    The file says for each token a name (for the logs), the SHA-256 of the token in hexadecimal (``printf %s "$TOKEN" |
    sha256sum``), and its rights: to ``recommend`` (ask), to ``write`` (events and items), to ``admin`` (swap bundles, look at
    users and at metrics); one does not bring the others.

    .. code-block:: toml

        [[token]]
        name = "shop"
        sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
        rights = ["recommend", "write"]
    """

    def __init__(self, known: dict[bytes, tuple[str, frozenset[Right]]] | None) -> None:
        """None: no tokens are needed, and everybody may do everything."""
        self._known = known

    @classmethod
    def read(cls, path: Path | None) -> Tokens:
        """Those of a file."""
        if path is None:
            return cls(None)
        try:
            found = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _File).token
            known = {bytes.fromhex(each.sha256): (each.name, frozenset(each.rights)) for each in found}
        except OSError as error:
            raise SettingsError(f"The tokens {path} cannot be read: {error.strerror or error}.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError, ValueError) as error:
            raise SettingsError(
                f"{path} is no file of tokens: {error}. It has, for each, [[token]] with name, sha256 and rights = "
                f"[{', '.join(map(repr, sorted(RIGHTS)))}]."
            ) from error
        wrong = [each.name for each in found if len(bytes.fromhex(each.sha256)) != 32]
        if wrong:
            raise SettingsError(f"{path}: sha256 of {wrong[0]!r} is no SHA-256, which has 64 hexadecimal digits.")
        return cls(known)

    @property
    def are_needed(self) -> bool:
        """Whether a request has to bring one."""
        return self._known is not None

    def find(self, authorization: str | None) -> tuple[str | None, frozenset[Right]]:
        """The name and the rights of the bearer whose ``Authorization`` header this is; nobody's are none.

        It takes as long for every token of a length, known or not.
        """
        if self._known is None:
            return None, RIGHTS
        kind, _, token = (authorization or "").partition(" ")
        digest = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).digest()
        name, rights = None, frozenset[Right]()
        for known, (owner, theirs) in self._known.items():
            if hmac.compare_digest(known, digest):
                name, rights = owner, theirs
        return (name, rights) if kind.lower() == "bearer" else (None, frozenset())
