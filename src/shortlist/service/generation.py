"""A bundle on disk to what one answer is made with: a loaded, checked and warmed recommender with its version."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from shortlist.asking import Ask
from shortlist.errors import BundleError
from shortlist.recommender import Recommender
from shortlist.sealing import MANIFEST
from shortlist.service.messages import Versions
from shortlist.workflow import load

_TRIES = 3  # to read a bundle that is replaced meanwhile
_WARM_BATCH = 8


@dataclass(frozen=True, slots=True)
class Generation:
    """What every answer is made with, whole: it is read once for each, and never changes."""

    recommender: Recommender
    bundle: Path
    version: str  # of the bundle
    revision: int = 0  # the last change of items that it knows
    loaded: float = 0.0  # seconds since 1970

    @property
    def versions(self) -> Versions:
        """As answers state them."""
        return Versions(self.version, f"{self.version}.{self.revision}")


def version_of(bundle: Path) -> str:
    """The version of the bundle in a folder: a digest of its manifest, which names the digests of all files."""
    try:
        return hashlib.sha256((bundle / MANIFEST).read_bytes()).hexdigest()[:12]
    except OSError as error:
        raise BundleError(f"There is no bundle {bundle}: it has no {MANIFEST} that can be read.") from error


def newest(path: Path, *, refused: Collection[str] = ()) -> tuple[Path, str]:
    """The bundle that ``path`` is, or the newest of those in it, with its version; of ``refused`` versions none."""
    found = []
    try:
        if (path / MANIFEST).is_file():
            return path, version_of(path)
        manifests = list(path.glob(f"[!.]*/{MANIFEST}")) if path.is_dir() else []
    except (OSError, ValueError) as error:  # a name that is none, or no right to look
        raise BundleError(
            f"{str(path)[:200]!r} cannot be looked at: {error!r:.200}. Name a bundle's folder."
        ) from error
    for manifest in manifests:
        try:
            found.append((manifest.stat().st_mtime_ns, manifest.parent.name, version_of(manifest.parent)))
        except (OSError, BundleError):  # replaced at this moment
            continue
    for _, name, version in sorted(found, reverse=True):
        if version not in refused:
            return path / name, version
    raise BundleError(f"There is no bundle {path}, and none in it. Make one with: shortlist train EVENTS --out {path}")


def load_generation(bundle: Path) -> Generation:
    """Load, check and warm the bundle in a folder; a damaged or foreign one is a :class:`BundleError`."""
    for _ in range(_TRIES):
        version = version_of(bundle)
        recommender = load(bundle).accelerated()
        if version_of(bundle) == version:
            warm(recommender)
            return Generation(recommender, bundle, version, loaded=time.time())
    raise BundleError(f"{bundle} is replaced again and again while it is read. Try again when it is at rest.")


def warm(recommender: Recommender) -> None:
    """Answer requests of the kinds that will come, so that the first of them is not slower than the rest."""
    dataset = recommender.dataset
    users = [
        None,
        *(dataset.encoders.users.decode([index])[0] for index in range(1, min(dataset.num_users, _WARM_BATCH))),
    ]
    first = dataset.encoders.items.decode([1])[0] if dataset.num_items else None
    events = () if first is None else ((first, int(time.time())),)
    for asks in ([Ask(users[-1])], [Ask(None, events=events)], [Ask(user, events=events) for user in users]):
        recommender.answer_asks(asks, k=10)
