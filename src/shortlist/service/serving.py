"""Bundles and changes of items to the one generation that answers: loaded beside the old one, then swapped whole.

Each process of a service has one. What another process, or another machine, has changed is followed by a thread of its own.
"""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from shortlist.errors import BundleError, RequestError, ShortlistError, StateError
from shortlist.recommender import Recommender
from shortlist.service.control import Control, ControlFile
from shortlist.service.generation import Generation, load_generation, newest, warm
from shortlist.service.items import changes_to_apply, with_changes
from shortlist.service.settings import ServiceSettings
from shortlist.service.state import ItemChange, State

log = logging.getLogger("shortlist.service")


class Serving:
    """The generation that answers, the one before it, and how they change."""

    def __init__(self, settings: ServiceSettings, state: State) -> None:
        """Load what is to be served now."""
        self.settings, self.state = settings, state
        self.swaps, self.refusals = 0, 0
        self._control = ControlFile(settings.own_folder)
        self._changing = threading.Lock()
        self._wake, self._stopped = threading.Event(), threading.Event()
        self._broken: set[str] = set()  # versions that cannot be loaded: not tried again and again
        self.before: Generation | None = None
        self.current = self._with_items(self._first())
        self._thread = threading.Thread(target=self._follow, name="shortlist-following", daemon=True)

    @property
    def recommender(self) -> Recommender:
        """The one that answers now; to be read once for each answer."""
        return self.current.recommender

    def start(self) -> None:
        """Begin to follow what changes elsewhere."""
        _settle()
        self._thread.start()

    def stop(self) -> None:
        """End it, and wait for what it is doing."""
        gc.unfreeze()
        self._stopped.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """Look for changes at once: one has just been made here."""
        self._wake.set()

    def reload(self, bundle: str | None) -> tuple[Generation, Generation]:
        """Serve the bundle in a folder, or what was asked for at the start, read anew; also what served before.

        It is loaded and warmed while the old one goes on; one that cannot be loaded is a :class:`BundleError`. What is in the
        watched folder and would take the place of a named one is refused from here on; what comes later is not.
        """
        asked = self.settings.bundle if bundle is None else Path(bundle)
        path, version = newest(asked, refused=self._refused() if bundle is None else ())
        with self._changing:
            before = self.current
            wanted = before if version == before.version else self._load(path, version)
            refused = [each for each in self._refused() if each != version]
            if bundle is not None and self.settings.watch:
                refused += self._preferred_to(version, refused)
            self._say(wanted, refused)
            if wanted is not before:
                self._swap(wanted)
            return self.current, before

    def rollback(self) -> tuple[Generation, Generation]:
        """Serve what served before; what serves now is refused from here on. Also what served until now."""
        with self._changing:
            left, wanted = self.current, self._served_before()
            self._say(wanted, [each for each in (*self._refused(), left.version) if each != wanted.version])
            self._swap(wanted)
            return self.current, left

    def _preferred_to(self, version: str, refused: list[str]) -> list[str]:
        """The versions that following the folder would bring in the place of this one."""
        found: list[str] = []
        try:
            while (other := newest(self.settings.bundle, refused=(*refused, *found))[1]) not in (version, *found):
                found.append(other)
        except BundleError:  # no other is left
            pass
        return found

    def _served_before(self) -> Generation:
        """What served before, also if that was before this process began."""
        if self.before is not None:
            return self._with_items(self.before)
        control = self._control.read()
        if control is not None and control.before is not None:
            path, version = newest(Path(control.before))
            if version != self.current.version:
                return self._load(path, version)
        raise RequestError("There is nothing to go back to: no other bundle has been served.")

    def _first(self) -> Generation:
        """What the service served when it was stopped, if it is still there, else what it is asked for."""
        control = self._control.read()
        if control is not None and control.asked == str(self.settings.bundle.absolute()):
            try:
                path, version = newest(Path(control.bundle))
                if version == control.version:
                    return load_generation(path)
            except BundleError as error:
                log.warning("the bundle served last is not to be had", extra={"why": str(error)})
        generation = self._newest_sound()
        try:
            self._say(generation, self._refused())
        except StateError as error:
            log.warning("what is served cannot be noted", extra={"why": str(error)})
        return generation

    def _newest_sound(self) -> Generation:
        """The newest bundle that can be loaded: where that is an older one, the log and the metrics tell of the others."""
        failed: dict[str, ShortlistError] = {}
        while True:
            try:
                path, version = newest(self.settings.bundle, refused=(*self._refused(), *failed))
            except BundleError as error:
                raise next(iter(failed.values()), error) from None
            if version in failed:  # no other was asked for
                raise failed[version]
            try:
                generation = load_generation(path)
                break
            except ShortlistError as error:
                failed[version] = error
        for why in failed.values():
            log.error("a newer bundle cannot be loaded", extra={"why": str(why), "instead": str(path)})
        self._broken.update(failed)
        self.refusals += len(failed)
        return generation

    def _load(self, path: Path, version: str) -> Generation:
        try:
            return self._with_items(load_generation(path))
        except ShortlistError:
            self._broken.add(version)
            self.refusals += 1
            raise

    def _swap(self, generation: Generation) -> None:
        self.before, self.current = self.current, generation
        self.swaps += 1
        _settle()
        log.info("swapped", extra={"version": generation.version, "before": self.before.version})

    def _refused(self) -> list[str]:
        control = self._control.read()
        return [] if control is None else control.refused

    def _say(self, generation: Generation, refused: list[str]) -> None:
        """Tell the other processes, and the next start."""
        asked, bundle, said = (
            str(self.settings.bundle.absolute()),
            str(generation.bundle.absolute()),
            self._control.read(),
        )
        before = None
        if said is not None and said.asked == asked:
            before = said.before if said.version == generation.version else said.bundle
        self._control.write(Control(asked, bundle, generation.version, refused, before))
        self._control.news()

    def _with_items(self, generation: Generation) -> Generation:
        """The generation with the changes of items that it does not know; without a store, as it is."""
        try:
            revision = self.state.revision()
            changes = changes_to_apply(self.state, generation)
        except StateError as error:
            log.warning("changes of items cannot be read", extra={"why": str(error)})
            return generation
        recommender, wrong = generation.recommender, list[tuple[ItemChange, str]]()
        if changes:
            recommender, wrong = with_changes(recommender, changes)
            warm(recommender)
        for change, why in wrong:
            log.warning("a change of an item is left out", extra={"item": change.item_id, "why": why})
        revision = max(revision, changes[-1].revision) if changes else revision
        return replace(generation, recommender=recommender, revision=revision)

    def _follow(self) -> None:
        steps: list[Callable[[], None]] = [self._follow_control, self._follow_items]
        if self.settings.watch:
            steps.insert(1, self._follow_folder)
        told: dict[str, str] = {}  # what keeps a step from being done is said once, not ten times a second
        self.recommender.warm_up()
        while not self._stopped.is_set():
            for step in steps:
                name, why = step.__name__.strip("_"), ""
                try:
                    step()
                except Exception as error:
                    why = str(error) or repr(error)
                    if why != told.get(name) and isinstance(error, ShortlistError):
                        log.warning("not followed", extra={"step": name, "why": why})
                    elif why != told.get(name):
                        log.exception("not followed", extra={"step": name})
                told[name] = why
            self._wake.wait(self.settings.poll_s)
            self._wake.clear()

    def _follow_control(self) -> None:
        """Serve what another process says."""
        with self._changing:  # before it is read: what is read later may be older than what is served meanwhile
            control = self._control.news()
            if control is None or control.version == self.current.version or control.version in self._broken:
                return
            if self.before is not None and control.version == self.before.version:
                self._swap(self._with_items(self.before))
                return
            path, version = newest(Path(control.bundle))
            if version != control.version:
                raise BundleError(f"{path} is not of the version {control.version} any more, but {version}.")
            self._swap(self._load(path, version))

    def _follow_folder(self) -> None:
        """Serve a newer bundle that has come."""
        path, version = newest(self.settings.bundle, refused=(*self._refused(), *self._broken))
        if version == self.current.version:
            return
        with self._changing:
            if version == self.current.version or version in self._broken or version in self._refused():
                return
            wanted = self._load(path, version)
            self._say(wanted, self._refused())
            self._swap(wanted)

    def _follow_items(self) -> None:
        if self.state.revision() <= self.current.revision:
            return
        with self._changing:
            self.current = self._with_items(self.current)


def _settle() -> None:
    """Have the garbage collector look no more at what will stay: it takes a tenth of a second, and answers wait for it."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
