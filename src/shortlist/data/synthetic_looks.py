"""A seed to made-up items that nothing but their pictures, or their descriptions, tells apart, and who took which."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from shortlist.errors import SettingsError

SIDE = 24  # pixels
LOOKS = ("stripes across", "stripes down", "checks", "a spot")
WORDS = (  # of each look, so that a description seldom has the same words as another
    ("banded", "lined", "tiered", "layered"),
    ("slatted", "fluted", "pleated", "ribbed"),
    ("chequered", "tiled", "quilted", "gridded"),
    ("dotted", "domed", "rounded", "beaded"),
)
THINGS = ("rug", "vase", "shirt", "poster", "curtain", "bag", "bowl", "lamp")
KEEPS_TO_TASTE = 0.9  # chance that an event is of the look that its user likes

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Looks:
    """``events`` (user_id, item_id, timestamp) and ``items`` (item_id, photo as the bytes of a PNG file, description).

    Each user likes one of four looks, ``tastes`` (U,), which ``looks`` (I,) says of each row of ``items``. A picture has its
    look in colours, a place and a light of its own, so that neither its mean colour nor any one pixel tells it.
    """

    events: pl.DataFrame
    items: pl.DataFrame
    tastes: Ints
    looks: Ints


def make_looks(*, users: int = 200, items: int = 240, events: int = 6_000, cold: int = 60, seed: int = 0) -> Looks:
    """Make users and items; nobody has taken the last ``cold`` of the items yet, so only what they are like tells of them.

    >>> made = make_looks(users=5, items=20, events=50, cold=4)
    >>> made.items.columns, len(made.events), made.events["item_id"].n_unique() <= 16
    (['item_id', 'photo', 'description'], 50, True)
    """
    if min(users, events) < 1 or not len(LOOKS) <= items - cold <= items:
        raise SettingsError(
            f"make_looks got users={users}, items={items}, events={events}, cold={cold}. At least {len(LOOKS)} items must not be cold."
        )
    draw = np.random.default_rng(seed)
    looks = np.arange(items) % len(LOOKS)
    draw.shuffle(looks[: items - cold])
    draw.shuffle(looks[items - cold :])
    tastes = draw.integers(len(LOOKS), size=users)
    who = draw.integers(users, size=events)
    wanted = np.where(draw.random(events) < KEEPS_TO_TASTE, tastes[who], draw.integers(len(LOOKS), size=events))
    known = looks[: items - cold]
    of_look = [np.flatnonzero(known == look) for look in range(len(LOOKS))]
    chosen = [draw.choice(of_look[look] if len(of_look[look]) else np.arange(len(known))) for look in wanted]
    ids = np.asarray([f"i{number:04d}" for number in range(items)])
    log = pl.DataFrame(
        {"user_id": [f"u{number:04d}" for number in who], "item_id": ids[chosen], "timestamp": np.arange(events)}
    )
    table = {
        "item_id": ids,
        "photo": [_png(_picture(draw, look)) for look in looks.tolist()],
        "description": [_description(draw, look) for look in looks.tolist()],
    }
    return Looks(log, pl.DataFrame(table), tastes, looks)


def _picture(draw: np.random.Generator, look: int) -> npt.NDArray[np.uint8]:
    """A look (side, side, 3) in two random colours."""
    down, across = np.mgrid[0:SIDE, 0:SIDE].astype(float)
    period, shift = draw.uniform(5, 8), draw.uniform(0, 2 * np.pi, 2)
    waves = np.sin(2 * np.pi * down / period + shift[0]), np.sin(2 * np.pi * across / period + shift[1])
    if look == 3:
        middle, radius = draw.uniform(8, SIDE - 8, 2), draw.uniform(4, 7)
        mask = np.hypot(down - middle[0], across - middle[1]) < radius
    else:
        mask = (waves[0], waves[1], waves[0] * waves[1])[look] > 0
    colours = draw.uniform(0, 255, (2, 3))
    while np.abs(colours[0] - colours[1]).max() < 80:
        colours = draw.uniform(0, 255, (2, 3))
    painted: Floats = np.where(mask[..., None], colours[0], colours[1]) + draw.normal(0, 12, (SIDE, SIDE, 3))
    return painted.clip(0, 255).astype(np.uint8)


def _description(draw: np.random.Generator, look: int) -> str:
    word, other = draw.choice(WORDS[look], 2, replace=False)
    return f"A {word} {draw.choice(THINGS)}, {other} by hand, number {draw.integers(10_000)}"


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()
