"""The page's files as they are sent, each with a tag of its content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file of the page."""

    content: bytes
    media_type: str
    etag: str


def page_files() -> Mapping[str, PageFile]:
    """All files of the page by their name: a request can name these and nothing else."""
    found = {}
    for entry in files("shortlist.service.page").joinpath("static").iterdir():
        content = entry.read_bytes()
        media_type = MEDIA_TYPES[entry.name.rpartition(".")[2]]
        found[entry.name] = PageFile(content, media_type, f'"{sha256(content).hexdigest()[:32]}"')
    return found
