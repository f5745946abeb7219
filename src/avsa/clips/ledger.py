"""Why something did not become a clip."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

LEDGER = "refused.jsonl"


class Refusal(BaseModel):
    """One line of the ledger: what was refused, by which check, and the figure that missed the check's threshold."""

    model_config = ConfigDict(frozen=True)

    source: str  # path below the raw folder
    reason: str
    check: str
    figure: float | None = None
    threshold: float | None = None
    start_s: float | None = None  # of the refused clip; None refuses the whole recording


class RefusedError(Exception):
    """A recording or a clip fails a check; becomes a `Refusal` once the source is known."""

    def __init__(self, check: str, reason: str, figure: float | None = None, threshold: float | None = None) -> None:
        super().__init__(reason)
        self.check, self.reason, self.figure, self.threshold = check, reason, figure, threshold

    def entry(self, source: str, start_s: float | None = None) -> Refusal:
        figure = None if self.figure is None else round(self.figure, 6)
        return Refusal(
            source=source,
            reason=self.reason,
            check=self.check,
            figure=figure,
            threshold=self.threshold,
            start_s=start_s,
        )
