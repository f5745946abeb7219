"""How steps hang together: equal hashes, or one path inside the other in the same dvc.lock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from avsa.tracking.locks import File, Step


class Graph:
    """Steps by what they read and write."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self.steps: list[Step] = []
        self._makers: dict[str, list[Step]] = defaultdict(list)  # hash -> steps
        self._users: dict[str, list[Step]] = defaultdict(list)
        self._in: dict[str, list[Step]] = defaultdict(list)  # place -> steps
        for step in steps:
            self.add(step)

    def add(self, step: Step) -> None:
        """One more step; an equal one stays."""
        if step in self.steps:
            return
        self.steps.append(step)
        for place in step.places:
            self._in[place].append(step)
        for index, files in ((self._makers, step.writes), (self._users, step.reads)):
            for _, hash_ in files:
                index[hash_].append(step)

    def makers(self, file: File, beside: Step | None = None) -> list[Step]:
        """The steps that wrote these bytes, or a part of them, in a dvc.lock where ``beside`` stands."""
        return list(dict.fromkeys([*self._makers[file[1]], *self._near(file, beside, "writes")]))

    def users(self, file: File, beside: Step | None = None) -> list[Step]:
        """The steps that read these bytes, or a part of them."""
        return list(dict.fromkeys([*self._users[file[1]], *self._near(file, beside, "reads")]))

    def find(self, path: str) -> list[tuple[File, Step]]:
        """Files of that path or that hold it, with the steps that wrote them; else those that read it."""
        for side in ("writes", "reads"):
            found = [(file, step) for step in self.steps for file in getattr(step, side) if _holds(file[0], path)]
            if found:
                closest = max(len(file[0]) for file, _ in found)
                return [(file, step) for file, step in found if len(file[0]) == closest]
        return []

    def with_hash(self, start: str) -> list[File]:
        """Files whose hash begins so."""
        files = (file for step in self.steps for file in (*step.writes, *step.reads))
        return list(dict.fromkeys(file for file in files if file[1].startswith(start)))

    def _near(self, file: File, beside: Step | None, side: str) -> Iterator[Step]:
        for place in beside.places if beside else ():
            for step in self._in[place]:
                paths = (path for path, _ in getattr(step, side) if path != file[0])
                if any(_holds(path, file[0]) or _holds(file[0], path) for path in paths):
                    yield step


def _holds(folder: str, path: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
