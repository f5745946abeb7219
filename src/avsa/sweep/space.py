"""The search space: an overlay of the configuration in which a range may stand wherever a value stands.

::

    pretrain:
      temperature: {float: [0.03, 0.3], log: true, paper: 0.07}
      runs:
        avc: [{objective: avc, share: {float: [0.05, 0.8], paper: 0.5}, batch: 112, crops: 1}]
        avsa: [{objective: {choice: [avsa, hard-only], paper: avsa}, batch: 28, crops: {int: [2, 8], paper: 4}}]
    model:
      translator:
        kind: {choice: [transformer, mlp], paper: transformer}
        heads: {choice: [1, 2, 4], paper: 1, when: {model.translator.kind: transformer}}

A range is a mapping with one of ``float``, ``int`` (both ``[low, high]``, inclusive; ``log: true`` or ``step: S``) and
``choice`` (plain values). ``paper`` is its value in the paper's configuration. ``when`` names other ranges by path and
the value, or list of values, that they must have; else the key is left out, as if the overlay did not have it. A path
is what `avsa config` prints, with numbers for places in a list: ``pretrain.runs.avsa.0.crops``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avsa.errors import UserError

if TYPE_CHECKING:
    from optuna import Trial

KINDS = ("float", "int", "choice")
Value = bool | int | float | str | None
Params = dict[str, Value]
"""Path of a range -> its value; ranges whose condition does not hold are missing."""


@dataclass(frozen=True)
class Range:
    """A typed range at a path."""

    path: str
    kind: str
    values: tuple[Any, ...]  # low and high, or the choices
    paper: Value
    log: bool = False
    step: float | None = None
    when: tuple[tuple[str, tuple[Value, ...]], ...] = ()

    def holds(self, params: Mapping[str, Value]) -> bool:
        """Whether the conditions do."""
        return all(path in params and params[path] in accepted for path, accepted in self.when)

    def between(self) -> tuple[Value, ...]:
        """An odd value inside a continuous range, which a whole number's place does not accept."""
        return (self.values[0] + 379 / 1024 * (self.values[1] - self.values[0]),) if self.kind == "float" else ()

    def suggest(self, trial: Trial) -> Value:
        """A value of the range."""
        if self.kind == "choice":
            chosen: Value = trial.suggest_categorical(self.path, self.values)
            return chosen
        low, high = self.values
        if self.kind == "int":
            return trial.suggest_int(self.path, low, high, step=int(self.step or 1), log=self.log)
        return trial.suggest_float(self.path, low, high, step=self.step, log=self.log)

    def __contains__(self, value: Value) -> bool:
        if self.kind == "choice":
            return any(value == known and type(value) is type(known) for known in self.values)
        low, high = self.values
        numeric = isinstance(value, int | (float if self.kind == "float" else int)) and not isinstance(value, bool)
        if not numeric or not low <= value <= high:
            return False
        steps = float(value - low) / (self.step or 1.0)
        return not self.step or abs(steps - round(steps)) < 1e-6


class Space:
    """A search space; ``where`` names its file in messages.

    Raises:
        UserError: a malformed range, a paper's value outside of it, a condition on something that is no range.
    """

    def __init__(self, template: dict[str, Any], where: str) -> None:
        self.template, self.where = template, where
        self.ranges = {found.path: found for found in self._find(template, "")}
        if not self.ranges:
            raise UserError(f"{where}: space: has no range, such as {{float: [0.03, 0.3], paper: 0.07}}")
        self.order = self._ordered()
        paper = {path: found.paper for path, found in self.ranges.items()}
        self.paper = self.active(paper)

    def suggest(self, trial: Trial) -> Params:
        """Values of the ranges whose conditions hold."""
        params: Params = {}
        for found in self.order:
            if found.holds(params):
                params[found.path] = found.suggest(trial)
        return params

    def active(self, params: Params) -> Params:
        """The parameters without those whose conditions do not hold."""
        kept: Params = {}
        for found in self.order:
            if found.holds(kept):
                kept[found.path] = params[found.path]
        return kept

    def corners(self) -> Iterator[tuple[Range, Value, Params]]:
        """Every end of every range, a value between, every choice; the rest is the paper's where conditions allow."""
        for found in self.order:
            for value in (*found.values, *found.between()):
                params = {path: other.paper for path, other in self.ranges.items()}
                params |= {path: accepted[0] for path, accepted in self._conditions(found)}
                yield found, value, self.active(params | {found.path: value})

    def fill(self, params: Mapping[str, Value]) -> dict[str, Any]:
        """The overlay with values in place of the ranges."""
        filled: dict[str, Any] = self._filled(self.template, "", params)
        return filled

    def _filled(self, node: Any, path: str, params: Mapping[str, Value]) -> Any:
        if path in self.ranges:
            return params[path]
        if isinstance(node, dict):
            below = {str(key): _join(path, key) for key in node}
            kept = {key for key in node if below[str(key)] not in self.ranges or below[str(key)] in params}
            return {key: self._filled(value, below[str(key)], params) for key, value in node.items() if key in kept}
        if isinstance(node, list):
            return [self._filled(value, _join(path, number), params) for number, value in enumerate(node)]
        return node

    def _find(self, node: Any, path: str) -> Iterator[Range]:
        if isinstance(node, dict) and any(kind in node for kind in KINDS):
            yield self._range(node, path)
        elif isinstance(node, dict):
            for key, value in node.items():
                yield from self._find(value, _join(path, key))
        elif isinstance(node, list):
            for number, value in enumerate(node):
                if isinstance(value, dict) and "when" in value and any(kind in value for kind in KINDS):
                    raise self._wrong(_join(path, number), "a value of a list cannot be conditional")
                yield from self._find(value, _join(path, number))

    def _range(self, node: dict[str, Any], path: str) -> Range:
        kind = next(kind for kind in KINDS if kind in node)
        if unknown := set(node) - {kind, "paper", "when"} - ({"log", "step"} if kind != "choice" else set()):
            raise self._wrong(path, f"a range of kind {kind} has no {', '.join(sorted(map(str, unknown)))}")
        values, log, step = node[kind], node.get("log", False), node.get("step")
        if not isinstance(values, list) or not values:
            raise self._wrong(path, f"{kind} needs a list")
        if kind == "choice":
            if not all(isinstance(value, Value) for value in values):
                raise self._wrong(path, "choices are plain values: numbers, words, true, false, null")
        elif len(values) != 2 or not all(_is_number(value, kind) for value in values) or not values[0] < values[1]:
            raise self._wrong(path, f"{kind} needs [low, high] with low < high, got {values}")
        elif log and (step is not None or values[0] <= 0):
            raise self._wrong(path, "a logarithmic range begins above 0 and has no step")
        elif step is not None and (not _is_number(step, kind) or step <= 0):
            raise self._wrong(path, f"step must be above 0, got {step!r}")
        if not isinstance(log, bool):
            raise self._wrong(path, f"log is true or false, got {log!r}")
        if "paper" not in node:
            raise self._wrong(path, "paper is missing: the value of the paper's configuration")
        when = node.get("when", {})
        if not isinstance(when, dict):
            raise self._wrong(path, "when is a mapping from the path of another range to its value or values")
        conditions = tuple(
            (str(key), tuple(value) if isinstance(value, list) else (value,)) for key, value in when.items()
        )
        if kind == "float":
            values = [float(value) for value in values]
        found = Range(path, kind, tuple(values), node["paper"], log, step, conditions)
        if found.values[-1] not in found:
            raise self._wrong(path, f"steps of {step} from {values[0]} do not reach {values[1]}")
        if found.paper not in found:
            raise self._wrong(path, f"paper {found.paper!r} is outside of {kind} {node[kind]}")
        return found

    def _ordered(self) -> list[Range]:
        """Every range after those that its condition names."""
        order: list[Range] = []
        waiting = list(self.ranges.values())
        for found in waiting:
            for path, accepted in found.when:
                if path not in self.ranges:
                    raise self._wrong(found.path, f"when: {path} is no range of this space")
                for value in accepted:
                    if value not in self.ranges[path]:
                        raise self._wrong(found.path, f"when: {path} is never {value!r}")
        while waiting:
            done = {found.path for found in order}
            ready = [found for found in waiting if all(path in done for path, _ in found.when)]
            if not ready:
                raise self._wrong(waiting[0].path, "when: conditions name each other")
            order += ready
            waiting = [found for found in waiting if found not in ready]
        return order

    def _conditions(self, found: Range) -> Iterator[tuple[str, tuple[Value, ...]]]:
        for path, accepted in found.when:
            yield from self._conditions(self.ranges[path])
            if self.ranges[path].paper not in accepted:
                yield path, accepted

    def _wrong(self, path: str, text: str) -> UserError:
        return UserError(f"{self.where}: space: {path}: {text}")


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _is_number(value: Any, kind: str) -> bool:
    return isinstance(value, int if kind == "int" else int | float) and not isinstance(value, bool)
