"""The journal on disk: order, kills in the middle of a line, what is sent and what is not."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from avsa.tracking.journal import JOURNAL, Journal, read_owner


def entry(step: int, kind: str = "metrics") -> dict[str, Any]:
    return {"run": "r", "kind": kind, "step": step}


def unsent(journal: Journal, most: int = 1 << 20) -> list[int]:
    return [item["step"] for item, _ in journal.unsent(most)]


def test_what_is_not_sent_waits_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", {"pid": 7})
    assert read_owner(tmp_path / "j") == {"pid": 7}
    assert not journal.waiting
    for step in range(5):
        journal.append(entry(step))
    assert unsent(journal) == [0, 1, 2, 3, 4]
    (_, after_first), (_, after_second) = list(journal.unsent(1 << 20))[:2]
    journal.mark(after_second)
    assert unsent(journal) == [2, 3, 4]
    assert unsent(journal, most=1) == [2]  # a chunk holds an entry at least
    assert unsent(journal, most=2 * after_first) == [2, 3]
    journal.close(delete=False)

    again = Journal(tmp_path / "j")
    assert read_owner(tmp_path / "j") == {"pid": 7}
    assert unsent(again) == [2, 3, 4]
    assert [item["step"] for item in again.entries()] == [0, 1, 2, 3, 4]
    again.append(entry(5))
    again.mark(again.waiting + after_second)
    assert not again.waiting
    again.close(delete=True)
    assert not (tmp_path / "j").exists()


def test_a_line_that_was_cut_off_was_never_recorded(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(entry(1))
    journal.append(entry(2))
    whole = (tmp_path / JOURNAL).read_bytes()
    journal.close(delete=False)
    first = whole.index(b"\n") + 1
    for cut in range(first, len(whole)):
        (tmp_path / JOURNAL).write_bytes(whole[:cut])
        again = Journal(tmp_path)
        assert unsent(again) == [1]
        again.append(entry(3))
        assert unsent(again) == [1, 3]
        again.close(delete=False)


def test_a_power_cut_that_took_what_was_sent(tmp_path: Path) -> None:
    """The store may have more than the disk; what comes next is still sent."""
    journal = Journal(tmp_path)
    for step in range(3):
        journal.append(entry(step))
    whole = (tmp_path / JOURNAL).read_bytes()
    journal.mark(len(whole))
    journal.close(delete=False)
    (tmp_path / JOURNAL).write_bytes(whole[: whole.index(b"\n") + 1])
    again = Journal(tmp_path)
    assert not again.waiting
    again.append(entry(9))
    assert unsent(again) == [9]


def test_threads_write_whole_lines(tmp_path: Path) -> None:
    journal = Journal(tmp_path)

    def many(n: int) -> None:
        for i in range(100):
            journal.append(entry(100 * n + i))

    threads = [threading.Thread(target=many, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.sync()
    steps = [item["step"] for item in journal.entries()]
    assert sorted(steps) == list(range(400))
    for n in range(4):
        assert [step for step in steps if step // 100 == n] == list(range(100 * n, 100 * n + 100))


def test_files_are_kept_as_they_are(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    path = tmp_path / "page.html"
    kept = []
    for content in ("one", "two"):
        path.write_text(content)
        kept.append(journal.keep(path))
    path.unlink()
    assert [journal.file(name).read_text() for name in kept] == ["one", "two"]
    assert [journal.file(name).name for name in kept] == ["page.html", "page.html"]
    journal.drop(kept[0])
    assert not journal.file(kept[0]).exists()
    assert journal.file(kept[1]).exists()


def test_a_kill_while_an_entry_is_set_aside_leaves_it_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append({"kind": "artifact", "run": "r", "file": "0/a"})
    [(found, position)] = journal.unsent(1 << 18)
    journal.set_aside(found, position)  # killed before it was marked
    again = Journal(tmp_path)
    assert again.late == []
    assert list(again.unsent(1 << 18)) == [(found, position)]
    again.set_aside(found, position)
    again.mark(position)
    third = Journal(tmp_path)
    assert third.late == [(found, position)]
    assert list(third.unsent(1 << 18)) == []
