"""Names and split lists of the two data sets, as they are distributed.

UCF-101 (Soomro et al. 2012): ``UCF-101/<Class>/v_<Class>_gXX_cYY.avi``; the videos of a group XX show the same thing in
the same place and are never split up. ``ucfTrainTestlist`` holds classInd.txt (from 1) and a train and a test list
for each fold. HMDB-51 (Kuehne et al. 2011): ``<class>/<name>.avi``, and ``testTrainMulti_7030_splits`` holds a list for
each class and fold, ``name.avi 0|1|2`` for unused, train and test. Names come from film titles.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from avsa.acquire.motion.gestures import ACTIONS
from avsa.config import MotionSet

FOLDS = (1, 2, 3)
UCF_ACTIONS = tuple(ACTIONS)
HMDB_ACTIONS = ("drift_left", "drift_right", "spin_left", "spin_right", "approach", "recede")
TITLES = ("#20_Rhythm", "Tom & Berry; a film", "(Rad)Zirkus_die_Bank!", "50_FIRST_DAYS", "what's_that")


class Role(IntEnum):
    """HMDB-51's numbers."""

    UNUSED, TRAIN, TEST = 0, 1, 2


@dataclass(frozen=True)
class Video:
    """A video of a layout: its path below the layout's folder, and what it is drawn from."""

    path: str
    action: int  # index into the layout's actions
    group: int
    clip: int


@dataclass(frozen=True)
class Layout:
    """A data set in one of the two layouts."""

    name: str
    fps: int
    actions: tuple[str, ...]
    spare: int  # groups of a class that a fold leaves out

    def videos(self, wanted: MotionSet) -> list[Video]:
        """All videos, class by class."""
        return [
            Video(self._path(self.actions[action], group, clip), action, group, clip)
            for action in range(len(self.actions))
            for group in range(self._groups(wanted))
            for clip in range(wanted.clips)
        ]

    def lists(self, wanted: MotionSet) -> dict[str, str]:
        """Path -> content of every list file."""
        return dict(self._ucf_lists(wanted) if self.name == "ucf101" else self._hmdb_lists(wanted))

    def role(self, wanted: MotionSet, fold: int, group: int) -> Role:
        """What a fold does with a group: in each fold other groups are tested."""
        groups = self._groups(wanted)
        place = (group + fold * groups // len(FOLDS)) % groups
        if place < wanted.train:
            return Role.TRAIN
        return Role.TEST if place < wanted.train + wanted.test else Role.UNUSED

    def _groups(self, wanted: MotionSet) -> int:
        return wanted.train + wanted.test + self.spare

    def _path(self, action: str, group: int, clip: int) -> str:
        if self.name == "ucf101":
            label = _camel(action)
            return f"UCF-101/{label}/v_{label}_g{group + 1:02d}_c{clip + 1:02d}.avi"
        title = TITLES[group % len(TITLES)]
        return f"{action}/{title}_{action}_f_cm_np1_fr_med_{group}_{clip}.avi"

    def _ucf_lists(self, wanted: MotionSet) -> Iterator[tuple[str, str]]:
        folder = "ucfTrainTestlist"
        names = [f"{number} {_camel(action)}\n" for number, action in enumerate(self.actions, start=1)]
        yield f"{folder}/classInd.txt", "".join(names)
        for fold in FOLDS:
            lines: dict[Role, list[str]] = {role: [] for role in Role}
            for video in self.videos(wanted):
                role = self.role(wanted, fold, video.group)
                label = f" {video.action + 1}" if role is Role.TRAIN else ""  # test lists carry none
                lines[role].append(f"{video.path.removeprefix('UCF-101/')}{label}\n")
            yield f"{folder}/trainlist{fold:02d}.txt", "".join(lines[Role.TRAIN])
            yield f"{folder}/testlist{fold:02d}.txt", "".join(lines[Role.TEST])

    def _hmdb_lists(self, wanted: MotionSet) -> Iterator[tuple[str, str]]:
        videos = self.videos(wanted)
        for number, action in enumerate(self.actions):
            own = [video for video in videos if video.action == number]
            for fold in FOLDS:
                lines = [f"{v.path.partition('/')[2]} {int(self.role(wanted, fold, v.group))} \n" for v in own]
                yield f"testTrainMulti_7030_splits/{action}_test_split{fold}.txt", "".join(lines)


LAYOUTS = (
    Layout("ucf101", 25, UCF_ACTIONS, spare=0),
    Layout("hmdb51", 30, HMDB_ACTIONS, spare=1),
)


def _camel(action: str) -> str:
    return "".join(word.capitalize() for word in action.split("_"))
