"""Bundles to damaged ones, by chance or by somebody who knows the format, and what comes of reading those.

For ``test_damaged_bundles.py``, which does it in processes of their own: what is read wrongly can end a process.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import random
import resource
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import shortlist as sl
from shortlist.errors import ShortlistError
from shortlist.sealing import MANIFEST, listed
from shortlist.tensor_files import read_tensors, write_tensors

MEMORY = 3 * 2**30  # that reading may take at most
ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    1,
    3,
    2**31 - 1,
    2**31,
    2**63,
    10**30,
    -(2**63),
    0.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "../x",
    [],
    {},
]
KINDS = (torch.float64, torch.float32, torch.float16, torch.int64, torch.int32, torch.int16, torch.uint8, torch.bool)


def damage_by_chance(bundle: Path, name: str, place: Path, *, count: int, seed: int) -> Counter[str]:
    """Read ``bundle`` with its file ``name`` changed ``count`` times; what came of it. Equal contents may be loaded."""
    draw, found = random.Random(f"{name} {seed}"), Counter[str]()
    sound = (bundle / name).read_bytes()
    others = [file.read_bytes() for file in sorted(bundle.iterdir()) if file.name != name]
    for number in range(count):
        changed = spoilt(sound, others, draw)
        with_file(bundle, name, changed, place, f"{name} {number}")
        outcome = outcome_of(place)
        assert outcome.startswith("refused") or changed == sound, f"{name} {number} was loaded"
        found[outcome] += 1
    return found


def damage_on_purpose(bundle: Path, name: str, place: Path, *, count: int, seed: int) -> Counter[str]:
    """The same with changes by somebody who states right digests for them: refused, or of use without any mistake of ours."""
    draw, found = random.Random(f"{name} {seed}"), Counter[str]()
    sound = (bundle / name).read_bytes()
    others = [file.read_bytes() for file in sorted(bundle.iterdir()) if file.name != name]
    manifest = json.loads((bundle / MANIFEST).read_text())
    for number in range(count):
        note = f"{name} {number}, on purpose"
        if name == MANIFEST:
            with_file(bundle, name, sound, place, note)
            seal(place, edited(manifest, draw))
        else:
            is_tensors = name.endswith(".safetensors")
            is_spoilt = not is_tensors or draw.random() < 0.3
            content = spoilt(sound, others, draw) if is_spoilt else other_tensors(bundle / name, place, draw)
            with_file(bundle, name, content, place, note)
            seal(place, {**manifest, "files": listed_but_manifest(place)})
        found[outcome_of(place)] += 1
    return found


def outcome_of(folder: Path) -> str:
    """Refused, or loaded and used in every way; whatever else comes of it is a mistake."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    try:
        recommender = sl.load(folder)
    except ShortlistError as error:
        return f"refused: {type(error).__name__}"
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    try:
        use(recommender)
    except ShortlistError as error:
        return f"loaded, and then {type(error).__name__}"
    return "loaded"


def use(recommender: sl.Recommender) -> None:
    """Ask it for all that it can do."""
    users, item = recommender.known_users(), recommender.dataset.encoders.items.decode([1])[0]
    some = [*users[:20], *users[-20:], "nobody"]
    recommender.recommend(some, k=5)
    recommender.recommend(users[:2], events=None, k=5, context={"device": "tv", "speed": 3})
    recommender.recommend(events=[{recommender.dataset.schema.item_column: item}], k=100)
    recommender.recommend(users[:2], where="price > 1 and category is not null", caps={"brand": 1}, diversity=0.5)
    recommender.similar_items(item, k=3)
    recommender.explain(users[0], item)
    recommender.titles([item])
    recommender.ages()
    if recommender.held_out is not None:
        sl.evaluate(recommender, recommender.held_out, metrics=["ndcg@10"], bootstrap=10)


def with_file(bundle: Path, name: str, content: bytes, place: Path, note: str) -> None:
    """The folder ``place`` with all files of a bundle but one as they are; the ``note`` tells who looks at it what is wrong."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for file in bundle.iterdir():
        if file.name != name:
            os.link(file, place / file.name)
    (place / name).write_bytes(content)
    place.with_name(f"{place.name}.note").write_text(note)


def listed_but_manifest(folder: Path) -> dict[str, Any]:
    """The files of a bundle with their digests."""
    return {name: stated for name, stated in listed(folder).items() if name != MANIFEST}


def seal(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest with its right digest, of values that JSON has no words for too."""
    text = json.dumps({name: value for name, value in manifest.items() if name != "sha256"}).encode()[1:]
    (folder / MANIFEST).unlink(missing_ok=True)
    (folder / MANIFEST).write_bytes(f'{{"sha256": "{hashlib.sha256(text).hexdigest()}", '.encode() + text)


def spoilt(content: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """Other bytes than these."""
    changed = bytearray(content)
    kind = draw.randrange(8)
    if kind <= 2 and changed:  # a bit, or some bytes
        for _ in range((1, 3, 50)[kind]):
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    elif kind == 3:  # a piece of noise
        start = draw.randrange(len(changed) + 1)
        changed[start : start + draw.choice([8, 512])] = draw.randbytes(8)
    elif kind == 4:  # cut short
        del changed[draw.randrange(len(changed) + 1) :]
    elif kind == 5:  # more than there was
        changed += draw.randbytes(draw.choice([1, 100]))
    elif kind == 6:  # another file's
        return draw.choice(others)
    else:  # near the beginning, where headers are
        changed[draw.randrange(min(len(changed), 64) or 1)] = draw.randrange(256)
    return bytes(changed)


def other_tensors(file: Path, place: Path, draw: random.Random) -> bytes:
    """A safetensors file of the same form with something else in it."""
    tensors = {name: tensor.clone() for name, tensor in read_tensors(file).items()}
    for _ in range(draw.choice([1, 1, 2])):
        name = draw.choice(sorted(tensors))
        tensor = tensors[name]
        kind = draw.randrange(8)
        if kind == 0:
            del tensors[name]
            if not tensors:
                tensors["nothing"] = torch.zeros(1)
        elif kind == 1:
            tensors[name] = tensor.to(draw.choice(KINDS))
        elif kind == 2:
            tensors[name] = tensor[: draw.randrange(len(tensor) + 1)] if tensor.dim() else tensor[None]
        elif kind == 3:
            tensors[name] = torch.cat([tensor, tensor]) if tensor.dim() else torch.tensor([], dtype=tensor.dtype)
        elif kind == 4:
            tensors[name] = tensor.flatten().flip(0).reshape(tensor.shape)
        elif kind == 5:
            tensors[draw.choice(["more", draw.choice(sorted(tensors))])] = tensor
        else:  # odd values at one place, or at all
            odd = draw.choice([-1, 0, 1, 2**31 - 1, 2**62, -(2**62), float("nan"), float("inf"), 1e30])
            if not tensor.is_floating_point():
                odd = 2**31 - 1 if odd != odd or abs(odd) > 2**62 else int(odd)
                odd = max(min(odd, 1 if tensor.dtype == torch.bool else torch.iinfo(tensor.dtype).max), 0 if tensor.dtype in (torch.uint8, torch.bool) else torch.iinfo(tensor.dtype).min)  # fmt: skip
            if kind == 6 or not tensor.numel():
                tensor.fill_(odd)
            else:
                tensor.flatten()[draw.randrange(tensor.numel())] = odd
    written = place.with_name("written.safetensors")
    written.unlink(missing_ok=True)
    write_tensors(written, tensors)
    return written.read_bytes()


def edited(manifest: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """The manifest with other values at one place or two."""
    changed = copy.deepcopy(manifest)
    for _ in range(draw.choice([1, 1, 2])):
        holder, key = draw.choice(list(places(changed)))
        kind = draw.randrange(5)
        if kind == 0:
            del holder[key]
        elif kind == 1:
            other, there = draw.choice(list(places(changed)))
            holder[key] = copy.deepcopy(other[there])
        elif kind == 2 and isinstance(holder[key], int | float):
            holder[key] = draw.choice([holder[key] + 1, holder[key] - 1, -holder[key], holder[key] * 1_000_003])
        else:
            holder[key] = copy.deepcopy(draw.choice(ODD))
    return changed


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a value of JSON, by what holds it and its key there."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        if key != "sha256":
            yield value, key
            yield from places(inner)
