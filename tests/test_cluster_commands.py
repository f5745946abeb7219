"""docs/cluster.md, and experiments on any page: each command is run by a test, or needs what no test has."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from avsa.resolve import resolve

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
SLURM = next(block for block in BLOCKS if "#SBATCH" in block)
WITHOUT = ("docker compose ", "kubectl ", "make image", "pip install ")
"""A Docker daemon, a cluster, a package index: the page marks them as not run."""
RUN = {  # by
    "docker/make-secrets": "tests/test_compose.py",
    "mlflow run docker": "tests/test_kubernetes.py",
    "torchrun": "tests/engine/test_torchrun_nodes.py",  # and below
    "dvc exp run": "tests/tracking/test_pipeline_records.py",  # and below
    "dvc queue start": "by hand",
    "dvc queue status": "by hand",
    "dvc exp show": "tests/tracking/test_pipeline_records.py",
}


def commands(blocks: list[str]) -> list[str]:
    text = "\n".join(blocks).replace("\\\n", " ")
    return [" ".join(shlex.split(line, comments=True)) for line in text.splitlines() if line.split("#")[0].strip()]


def options(words: list[str]) -> dict[str, str]:
    """Of torchrun, those before the program."""
    return dict(word.partition("=")[::2] for word in words[: words.index("-m")] if word.startswith("--"))


def test_each_command_has_its_test_or_its_mark() -> None:
    written = [
        line for line in commands([block for block in BLOCKS if block != SLURM]) if not line.startswith("export")
    ]
    assert len(written) > 12
    assert not [line for line in written if not line.startswith((*WITHOUT, *RUN))]
    assert not [start for start in RUN if not any(line.startswith(start) for line in written)]
    assert not [test for test in RUN.values() if test != "by hand" and not (ROOT / test).exists()]


def test_files_and_services_that_compose_is_told_exist() -> None:
    services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
    found = [line.split() for line in commands(BLOCKS) if line.startswith("docker compose")]
    assert len(found) == 4
    for words in found:
        assert all((ROOT / name).exists() for option, name in pairwise(words) if option == "-f")
        if "run" in words:
            assert words[words.index("run") + 2] in services


def test_torchrun_is_the_one_that_is_tested() -> None:
    """The file's, with which a test starts two nodes; beside how many there are and where they meet."""
    jobs = yaml.safe_load_all((ROOT / "docker/kubernetes/multi-node.yaml").read_text())
    (job,) = (document for document in jobs if document["kind"] == "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    tested = options(container["args"])
    (page,) = (line.split() for line in commands(BLOCKS) if line.startswith("torchrun"))
    (slurm,) = (line for line in commands([SLURM.replace("$(scontrol", "$(echo")]) if line.startswith("srun torchrun"))
    for words in (page, slurm.split()):
        assert options(words).keys() == tested.keys()
        for name in ("--rdzv-backend", "--nproc-per-node", "--max-restarts"):
            assert options(words)[name] == tested[name]
        assert words[words.index("-m") :][:4] == container["args"][container["args"].index("-m") :][:4]
    variable = next(item for item in container["env"] if item["name"] == "TORCH_DISABLE_SHARE_RDZV_TCP_STORE")
    for block in (SLURM, next(block for block in BLOCKS if "\ntorchrun" in block)):
        assert f"export {variable['name']}={variable['value']}\n" in block


def test_the_slurm_script_is_one_for_bash() -> None:
    subprocess.run(["bash", "-n"], input=SLURM, text=True, check=True)
    assert SLURM.startswith("#!/bin/bash\n#SBATCH ")


def experiments() -> list[str]:
    """What pages, README and Makefile give to ``dvc exp run``, without what a variable of make chooses."""
    found = []
    for path in (*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "Makefile"):
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        if chosen := re.search(r"^SMOKE := (.*)$", text, re.MULTILINE):
            text = text.replace("$(SMOKE:%=-S '%')", " ".join(f"-S '{choice}'" for choice in chosen[1].split()))
        found += re.findall(r"dvc exp run([^\n`#]*-S[^\n`#]*)", text)
    return [line for line in found if "$(ROW)" not in line]


@pytest.mark.parametrize("line", experiments())
def test_dvc_takes_what_experiments_choose(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC's own reading of -S on this project's params.yaml; what comes out is a configuration."""
    words = shlex.split(line)
    chosen = [word for option, word in pairwise(words) if option == "-S"]
    assert chosen
    shutil.copy(ROOT / "params.yaml", tmp_path)
    before = (tmp_path / "params.yaml").read_text()
    apply_overrides(tmp_path / "params.yaml", chosen)
    assert (tmp_path / "params.yaml").read_text() != before
    monkeypatch.chdir(ROOT)
    base = next((choice.partition("=")[2] for choice in chosen if choice.startswith("base=")), "")
    if not base.startswith("configs/found/"):  # which a search writes
        resolve(tmp_path / "params.yaml")
