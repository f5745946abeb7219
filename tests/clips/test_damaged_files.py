"""A sample of the damaged variants of `benchmarks.corrupted`: a refusal with a reason, or the undamaged clip.

With the originals' checksums on record no clip may be wrong; without them, only where no decoder can notice.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))  # the benchmarks are not installed

from benchmarks import corrupted, damage  # noqa: E402

pytestmark = pytest.mark.skipif(not damage.SHARED.is_dir(), reason=f"no recordings in {damage.SHARED}")

SAMPLE = [variant for variant in damage.variants(corrupted.COUNT, corrupted.SEED) if variant[0] % 37 == 5]


def test_the_sample_holds_most_kinds() -> None:
    assert len(SAMPLE) == 27
    assert len({kind for _, kind, _ in SAMPLE}) >= 12


@pytest.mark.parametrize(("number", "kind", "original"), SAMPLE)
def test_damage_ends_in_the_ledger(number: int, kind: str, original: str) -> None:
    outcome = corrupted.try_variant(number, kind, original, known=False)
    assert outcome.clips or outcome.refused
    bare = original in ("mp4+wav", "webm")  # PCM, and VP9 in WebM, have no checksums
    unseen = ("one bit flipped", "16 bits flipped", "500 bits flipped", "a block of zeros", "a block of noise")
    assert outcome.wrong == 0 or (kind in unseen and bare)
    known = corrupted.try_variant(number, kind, original, known=True)
    assert known.clips or known.refused
    assert known.wrong == 0
