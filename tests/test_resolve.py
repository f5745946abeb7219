"""Layers, origins and the one-line errors of the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from avsa.config import Config, Phase
from avsa.errors import UserError
from avsa.resolve import DEFAULT, Resolved, fingerprint, resolve


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder, and the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(**files: object) -> None:
    """name=content as name.yaml; text as it is."""
    for name, content in files.items():
        Path(f"{name}.yaml").write_text(content if isinstance(content, str) else yaml.safe_dump(content))


LAYERS = {
    "low": {"synth": {"train": 10, "val": 11, "test": 12, "places": 13}},
    "high": {"base": "low.yaml", "synth": {"train": 20, "val": 21, "test": 22}},
    "params": {"base": "high.yaml", "synth": {"train": 30, "val": 31}},
}


def test_later_layers_win_and_leave_the_rest() -> None:
    write(**LAYERS)
    resolved = resolve(overrides=["synth.train=40"])
    synth = resolved.config.synth
    assert (synth.train, synth.val, synth.test, synth.places) == (40, 31, 22, 13)
    assert synth.fps == Config().synth.fps
    origins = {name: resolved.origin(f"synth.{name}") for name in ("train", "val", "test", "places", "fps")}
    assert origins == {
        "train": "--set",
        "val": "params.yaml",
        "test": "high.yaml",
        "places": "low.yaml",
        "fps": DEFAULT,
    }


def test_without_any_file_all_is_default() -> None:
    resolved = resolve()
    assert resolved.config == Config()
    assert {resolved.origin(path) for path in resolved.flat()} == {DEFAULT}


def test_another_base_and_another_params_file() -> None:
    write(**LAYERS, other={"synth": {"test": 5, "train": 6}}, chosen={"synth": {"val": 7}})
    resolved = resolve(base="other.yaml")
    assert (resolved.config.base, resolved.origin("base")) == ("other.yaml", "--base")
    assert (resolved.config.synth.test, resolved.config.synth.train) == (5, 30)
    assert resolve(overrides=["base=other.yaml"]).config.synth.test == 5
    assert resolve(base="low.yaml", overrides=["base=other.yaml"]).config.synth.test == 12
    resolved = resolve(Path("chosen.yaml"))
    assert (resolved.config.synth.val, resolved.origin("synth.val")) == (7, "chosen.yaml")
    assert resolved.config.synth.train == Config().synth.train


def test_mappings_merge_and_lists_replace() -> None:
    two = [{"objective": "avc", "epochs": 1}, {"objective": "avsa", "epochs": 2}]
    write(low={"pretrain": {"runs": {"avc": two, "mine": two}}}, params={"base": "low.yaml"})
    resolved = resolve(overrides=["pretrain.runs.avc=[{objective: avts, epochs: 3}]", "views.fov_deg=[30, 40]"])
    runs = resolved.config.pretrain.runs
    assert runs["avc"] == [Phase(objective="avts", epochs=3)]
    assert [phase.epochs for phase in runs["mine"]] == [1, 2]
    assert runs["avsa"] == Config().pretrain.runs["avsa"]
    assert resolved.config.views.fov_deg == (30, 40)
    assert resolved.origin("pretrain.runs.avc") == resolved.origin("pretrain.runs.avc.0.epochs") == "--set"
    assert resolved.origin("pretrain.runs.mine") == "low.yaml"


def test_empty_sections_choose_nothing() -> None:
    write(params="base: ''\nsynth: {}\n")
    resolved = resolve()
    assert resolved.config == Config()
    assert resolved.origin("synth.train") == DEFAULT
    write(params="# nothing\n")
    assert resolve().config == Config()


def test_the_last_of_two_overrides_wins() -> None:
    assert (
        resolve(overrides=["engine.workers=1", "engine.workers=2", "engine.log_every=3"]).flat()["engine.workers"] == 2
    )


UNKNOWN = [
    ("sinth.train=3", "sinth", "synth"),
    ("synth.trian=3", "synth.trian", "synth.train"),
    ("model.translator.dept=1", "model.translator.dept", "model.translator.depth"),
    ("clips.checks.min_rms=1", "clips.checks.min_rms", "clips.checks.min_rms_db"),
    (
        "pretrain.runs.avc=[{objectve: avc, epochs: 1}]",
        "pretrain.runs.avc.0.objectve",
        "pretrain.runs.avc.0.objective",
    ),
    (
        "pretrain.runs.new=[{objective: avc, epochs: 1}, {objective: avc, epochs: 1, bacth: 3}]",
        "pretrain.runs.new.1.bacth",
        "pretrain.runs.new.1.batch",
    ),
    (  # a run may be called like a field of its phases
        "pretrain.runs.epochs=[{objective: avc, epochs: 1, momets: 1}]",
        "pretrain.runs.epochs.0.momets",
        "pretrain.runs.epochs.0.moments",
    ),
    ("workers=3", "workers", "download.workers' or 'engine.workers"),  # right name, wrong place
    ("pretrain.precision=fp32", "pretrain.precision", "engine.precision"),
]


@pytest.mark.parametrize(("override", "wrong", "meant"), UNKNOWN)
def test_a_misspelt_key_names_its_nearest_neighbour(override: str, wrong: str, meant: str) -> None:
    first = message(override).removesuffix(" (and 1 more)")  # a required key that is missing, being misspelt
    assert first == f"--set: {wrong}: unknown key; did you mean '{meant}'?"


def test_a_key_that_is_near_nothing_lists_what_there_is() -> None:
    assert message("tracking.zzz=1") == "--set: tracking.zzz: unknown key; known here: uri, experiment, wait_s"


def test_a_misspelt_key_in_a_file_names_the_file() -> None:
    write(low={"sinth": {"train": 3}}, params={"base": "low.yaml", "views": {"crops": -1}})
    assert message() == "low.yaml: sinth: unknown key; did you mean 'synth'? (and 1 more)"


WRONG = [
    ("synth.train=-1", "--set: synth.train: input should be greater than or equal to 0, got -1"),
    ("synth.height=33", "--set: synth.height: input should be a multiple of 2, got 33"),
    ("views.mirror=2", "--set: views.mirror: input should be less than or equal to 1, got 2"),
    ("synth=5", "--set: synth: input should be a valid dictionary or instance of Synth, got 5"),
    ("synth=", "--set: synth: input should be a valid dictionary or instance of Synth, got None"),
    ("engine.workers=many", "--set: engine.workers: input should be a valid integer"),
    ("engine.workers.x=1", "--set: engine.workers: input should be a valid integer, got {'x': 1}"),
    ("audio.kind=stero", "--set: audio.kind: input should be 'mono', 'stereo', 'ambisonics' or"),
    ("dataset=../away", "--set: dataset: string should match pattern"),
    (
        "pretrain.runs.avc=[{objective: avsaa, epochs: 1}]",
        "--set: pretrain.runs.avc.0.objective: input should be 'avc'",
    ),
    ("pretrain.runs.avc=[{objective: avc}]", "--set: pretrain.runs.avc.0.epochs: field required"),
    ("views.frames=1000", "views need 62.5 s but clips.clip_s is 10"),
    (f"engine.workers={'x' * 500}", "--set: engine.workers: input should be a valid integer"),
]


@pytest.mark.parametrize(("override", "start"), WRONG)
def test_a_bad_value_is_one_short_line_with_its_place(override: str, start: str) -> None:
    text = message(override)
    assert text.startswith(start)
    assert "\n" not in text
    assert len(text) < 250


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("synth.train", "--set synth.train: expected a.b=value"),
        ("=3", "--set =3: expected a.b=value"),
        ("synth.train=[1", "--set synth.train=[1: the value is not valid YAML"),
    ],
)
def test_overrides_that_are_none(override: str, expected: str) -> None:
    assert message(override) == expected


def test_files_that_cannot_be_layers(folder: Path) -> None:
    with pytest.raises(UserError, match=r"^nowhere.yaml: no such configuration file$"):
        resolve(Path("nowhere.yaml"))
    write(params={"base": "missing.yaml"})
    assert message() == "missing.yaml: no such configuration file"
    write(params="synth: {train: 3\nviews: ]\n")
    assert message().startswith("params.yaml: not valid YAML: ")
    assert "line 2" in message()
    write(params="- synth\n- views\n")
    assert message() == "params.yaml: expected a mapping of sections, found list"
    Path("params.yaml").write_bytes(b"\xff\xfe\x00synth")
    assert message().startswith("params.yaml: not valid YAML: ")
    with pytest.raises(UserError, match=r"cannot be read: Is a directory$"):
        resolve(folder)


def test_of_several_overlays_the_last_wins_and_what_they_share_lies_below() -> None:
    write(
        low={"synth": {"train": 1, "val": 1, "test": 1, "places": 1}},
        one={"base": "low.yaml", "synth": {"train": 2, "val": 2}},
        two={"base": "low.yaml", "synth": {"train": 3}},
        params={"base": ["one.yaml", "two.yaml"]},
    )
    resolved = resolve()
    synth = resolved.config.synth
    assert (synth.train, synth.val, synth.test, synth.places) == (3, 2, 1, 1)
    origins = [resolved.origin(f"synth.{name}") for name in ("train", "val", "test")]
    assert origins == ["two.yaml", "one.yaml", "low.yaml"]
    assert resolved.config.base == ["one.yaml", "two.yaml"]
    assert resolve(overrides=["base=[two.yaml, one.yaml]"]).config.synth.train == 2
    write(params={"base": ["one.yaml", "three.yaml"]})
    assert message() == "three.yaml: no such configuration file"


def test_a_run_may_have_the_phases_of_another() -> None:
    write(
        low={"pretrain": {"runs": {"mine": "avsa", "other": [{"objective": "avc", "epochs": 3}]}}},
        params={"base": "low.yaml", "pretrain": {"runs": {"avsa": [{"objective": "avsa", "epochs": 7}]}}},
    )
    resolved = resolve(overrides=["pretrain.runs.other=avts"])
    assert resolved.config.pretrain.runs["mine"] == [Phase(objective="avsa", epochs=7)]
    assert resolved.config.pretrain.runs["other"] == Config().pretrain.runs["avts"]
    assert resolved.origin("pretrain.runs.mine.0.epochs") == "low.yaml"
    wrong = "--set: pretrain.runs.other: input should be a valid list, got {!r}"
    assert message("pretrain.runs.other=nothing") == wrong.format("nothing")
    assert message("pretrain.runs.other=mine") == wrong.format("avsa")  # which has phases, but mine has none of its own


def test_overlays_in_a_circle() -> None:
    write(one={"base": "two.yaml"}, two={"base": "one.yaml"}, params={"base": "one.yaml"})
    assert message() == "one.yaml: overlays name each other as base: one.yaml -> two.yaml -> one.yaml"


def test_yaml_cannot_make_objects() -> None:
    write(params="synth: !!python/object/apply:os.system ['touch pwned']\n")
    assert message().startswith("params.yaml: not valid YAML: could not determine a constructor")
    assert not Path("pwned").exists()


def message(*overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        resolve(overrides=overrides)
    return str(caught.value)


def test_fingerprints_follow_every_value() -> None:
    config = Config()
    found = {fingerprint(config.views, {"a": 1, "b": 2})}
    assert found == {fingerprint(config.views.model_dump(mode="json"), {"b": 2, "a": 1})}
    changed = [config.views.model_copy(update={"crops": 5}), config.views.model_copy(update={"fov_deg": (25.0, 90.5)})]
    found |= {fingerprint(views, {"a": 1, "b": 2}) for views in changed} | {fingerprint(config.views, {"a": 1, "b": 3})}
    assert len(found) == 4


def test_flat_holds_every_leaf_of_the_tree() -> None:
    resolved: Resolved = resolve()
    rebuilt: dict[str, object] = {}
    for path, value in resolved.flat().items():
        *parents, name = path.split(".")
        place = rebuilt
        for part in parents:
            place = place.setdefault(part, {})  # type: ignore[assignment]
        place[name] = value
    assert Config.model_validate(rebuilt) == resolved.config
