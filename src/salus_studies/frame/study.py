"""What a study is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from salus.errors import StoreError
from salus.options import Option, options_of
from salus_studies.frame.options import Options
from salus_studies.frame.unstored import UNSTORED

if TYPE_CHECKING:
    from salus.engines import Engine
    from salus_studies.frame.folder import Folder, Reproduction
    from salus_studies.frame.page import Page
    from salus_studies.frame.results import Results

O = TypeVar("O", bound=Options)  # noqa: E741 - of options

_ROOMS = Path(__file__).parents[1]
_REPOSITORY = _ROOMS.parents[1]


@dataclass(frozen=True, kw_only=True)
class Study(Generic[O]):
    """A paper, or a question of our own, worked through.

    It is defined in the module ``study`` of its room, which imports nothing heavy, so that help is quick.

    Attributes:
        name: on the command line; its room has the same, with ``_`` for ``-``.
        title: how people call it.
        summary: what it does, in a line.
        options: the dataclass of its options.
        version: changes whenever a step's content would: stored steps of older versions are then done again.
        run: does its steps in a folder that it claims, and gives the results.
        compose: makes the page out of results alone, given the folder of its figures as the page sees it. The same
            results give the same bytes.
        page: where the page lies in the repository.
        figures: the folder of the figures beside the page; "" for one of the page's own name.
        side_by_side: several processes may work in one folder, because each step stands alone; otherwise the folder
            is locked.
        joined: section of the results -> the fields that tell its records apart, for sections whose records may come
            from several runs, as nothing in one hangs on another; see :func:`.joined.join`.
    """

    name: str
    title: str
    summary: str
    options: type[O]
    version: int
    run: Callable[[O, Folder], Results]
    compose: Callable[[Results, str], Page]
    page: str
    figures: str = ""
    side_by_side: bool = False
    joined: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def declared_options(self) -> tuple[Option, ...]:
        """List its options; see ``salus.options.options_of``."""
        return options_of(self.options)

    @property
    def room(self) -> Path:
        """Where the study lies, and its stored results with it."""
        return _ROOMS / self.name.replace("-", "_")

    @property
    def place(self) -> Path:
        """The page in the repository."""
        return _REPOSITORY / self.page

    def reproduce(
        self, out: Path, *, page: Path | None = None, command: str = "", engine: Engine | None = None, **options: Any
    ) -> Reproduction:
        """Do the study, as far as it goes, and write its results and its page.

        Every step is stored; run again, with more time, it goes on where it was.

        Args:
            out: the folder of this study, new, empty, or of the same one; ``results.json`` lands there.
            page: the Markdown page; ``NAME.md`` in the folder when not given.
            command: how to repeat it, for the page.
            engine: where steps that stand alone, and audits, are done; None for this process. It stays open.
            options: fields of the dataclass ``options``, as a user wrote them.

        Raises:
            SalusError: an option, the data or the folder cannot be used.
        """
        from salus.options import build
        from salus.storage import Store
        from salus_studies.frame.folder import Folder

        typed = build(self.options, options, f"study {self.name!r}")
        store = Store(out, "reproduction")
        store.check_free()
        with nullcontext() if self.side_by_side else store.locked():
            folder = Folder(store, self.name, self.version, command, engine)
            results = self.run(typed, folder)
            results.write(out)
            page = page or out / f"{self.name}.md"
            self.write_page(results, page)
        return folder.reproduction(page)

    def write_page(self, results: Results, place: Path) -> None:
        """Write a page, and its figures into a folder beside it, from results alone.

        Raises:
            StoreError: the disk is full, or the place is not writable.
        """
        from salus_studies.frame.page import write

        folder = self.figures or place.stem
        write(self.compose(results, folder), place, folder, results.stamp())

    def stored(self) -> Results | None:
        """Read the results that the repository keeps; None where it keeps none.

        Raises:
            StoreError: they are damaged.
        """
        from salus_studies.frame.results import Results, are_in

        return Results.read(self.room) if are_in(self.room) else None

    def store(self, folder: Path) -> Path:
        """Put a run's results into the repository and write the page again; returns where that lies.

        What the run left out and an earlier one did stays, where the study lets records of several runs stand
        together; the page says which are whose.

        Raises:
            StoreError: the folder holds no results, or the stored ones are of another scale, seed, split or protocol.
        """
        from salus_studies.frame.joined import join
        from salus_studies.frame.results import Results

        results, before = Results.read(folder), self.stored()
        if before is not None and self.joined:
            results = join(results, before, self.joined)
        results.write(self.room)
        return self.rebuild()

    def rebuild(self) -> Path:
        """Write the page in the repository again, from the results stored there; returns where it lies.

        Raises:
            StoreError: no results are stored, or the place is not writable.
        """
        results = self.stored()
        if results is None:
            raise StoreError(self._why_not())
        self.write_page(results, self.place)
        return self.place

    def check(self) -> str:
        """Say in a sentence what is wrong with the page in the repository; nothing where it is what it should be."""
        from salus_studies.frame.page import stale

        results = self.stored()
        if results is None:
            return self._why_not()
        folder = self.figures or self.place.stem
        files = [path.name for path in stale(self.compose(results, folder), self.place, folder, results.stamp())]
        if not files:
            return ""
        are = "is" if len(files) == 1 else "are"
        return (
            f"Of {self.page} {', '.join(files)} {are} not what the stored results give; run: salus reproduce "
            f"{self.name} --rebuild."
        )

    def _why_not(self) -> str:
        why = UNSTORED.get(self.name, "nobody has put them there yet")
        return f"{self.page} cannot be rebuilt, as its results are not stored in {self.room}: {why}."
