"""Fine-tuning for actions: what is trained, that it learns motion, and scores against a slow loop."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from avsa.engine.optim import adam
from avsa.models.network import AVSANetwork, NetworkSpec, build_network
from avsa.tasks.action import ActionTask, confusion, score

SPEC = NetworkSpec(video_depth=10, video_width=1 / 16, audio_width=1 / 32)


def drifting(count: int, seed: int) -> Any:
    """A bar that moves left (class 0) or right (class 1) from anywhere: no single frame tells which."""
    generator = torch.Generator().manual_seed(seed)
    label_N = torch.arange(count) % 2
    start_N = torch.randint(16, (count,), generator=generator)
    video_NCTHW = torch.zeros(count, 3, 4, 16, 16)
    for n in range(count):
        for t in range(4):
            column = int(start_N[n] + (2 * label_N[n] - 1) * 3 * t) % 16
            video_NCTHW[n, :, t, :, column : column + 3] = 1
    return SimpleNamespace(video_NCTHW=video_NCTHW - 0.2, label_N=label_N, ids=[str(n) for n in range(count)])


def task(network: Any, classes: int = 2, seed: int = 0) -> ActionTask:
    return ActionTask(network, classes, lambda batch: batch.video_NCTHW, drifting(4, 0), seed)


def test_the_video_encoder_and_the_head_are_trained_and_nothing_else() -> None:
    network = build_network(SPEC, seed=0)
    made = task(network)
    trained = {id(parameter) for parameter in made.trained()}
    assert isinstance(made.model.head, nn.Module)
    expected = [*network.video_model.parameters(), *made.model.head.parameters()]
    assert trained == {id(parameter) for parameter in expected}


def test_making_the_task_changes_no_weight_and_no_statistic() -> None:
    network = build_network(SPEC, seed=0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random_state = torch.get_rng_state()
    task(network)
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), random_state)


def test_the_head_depends_on_the_seed_alone() -> None:
    weights = [task(build_network(SPEC, seed=0), seed=seed).model.head.classifier.weight for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


class Foreign(nn.Module):
    """An encoder of a user's own, with a part that pictures do not reach; it came frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.video_dim = 6
        self.body = nn.Linear(3, 6)
        self.other = nn.Linear(2, 2)
        self.requires_grad_(False)

    def video(self, video_BCTHW: Tensor) -> Tensor:
        features: Tensor = self.body(video_BCTHW.mean((2, 3, 4)))
        return features


def test_a_foreign_encoder_is_trained_where_pictures_reach_it() -> None:
    encoder = Foreign()
    made = task(encoder)
    trained = {id(parameter) for parameter in made.trained()}
    assert trained == {id(p) for p in [*encoder.body.parameters(), *made.model.head.parameters()]}


def fit(network: AVSANetwork, batches: list[Any], steps: int) -> tuple[ActionTask, list[float]]:
    made, losses = task(network), []
    optimiser = adam(made.trained(), 0.0)
    optimiser.param_groups[0]["lr"] = 3e-3
    torch.manual_seed(0)
    made.model.train()
    for step in range(steps):
        loss, _ = made.step(batches[step % len(batches)])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return made, losses


def test_one_batch_is_learned_by_heart() -> None:
    batch = drifting(8, 1)
    made, losses = fit(build_network(SPEC, seed=0), [batch], 40)
    assert losses[0] > 0.5
    assert losses[-1] < 0.3  # through dropout
    made.model.eval()
    assert float(made.step(batch)[1]["accuracy"]) == 1.0


def test_motion_is_learned_for_clips_that_were_not_seen() -> None:
    made, _ = fit(build_network(SPEC, seed=0), [drifting(32, seed) for seed in range(2, 8)], 48)
    made.model.eval()
    with torch.no_grad():
        assert float(made.step(drifting(100, 99))[1]["accuracy"]) > 0.9


def test_accuracy_and_loss_are_those_of_the_logits() -> None:
    batch = drifting(6, 3)
    made = task(build_network(SPEC, seed=0), classes=5)
    loss, metrics = made.step(batch)
    logits_BC = made.model(batch.video_NCTHW)
    expected, right = 0.0, 0
    for logits_C, label in zip(logits_BC.detach().double(), batch.label_N, strict=True):
        expected -= float(logits_C[label] - logits_C.exp().sum().log()) / 6
        right += int(max(range(5), key=lambda c: float(logits_C[c])) == int(label))
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    assert float(metrics["accuracy"]) == pytest.approx(right / 6)


def test_predictions_keep_the_order_and_use_no_dropout() -> None:
    made = task(build_network(SPEC, seed=0))
    made.model.train()
    batches = [drifting(6, 4), drifting(3, 5)]
    logits_VSC = made.predict(batches, clips=3)
    assert logits_VSC.shape == (3, 3, 2)
    made.model.eval()
    with torch.no_grad():
        last = made.model(batches[1].video_NCTHW)
        first = made.model(batches[0].video_NCTHW[4:5])
    torch.testing.assert_close(logits_VSC[2], last)
    torch.testing.assert_close(logits_VSC[1, 1], first[0], rtol=1e-4, atol=1e-5)


def slow_scores(logits_VSC: Tensor, label_V: Tensor) -> dict[str, float]:
    """Percentages counted one by one."""
    videos, clips, classes = logits_VSC.shape
    right = {f"{what}_top{k}": 0 for what in ("clip", "video") for k in (1, 5)}
    for v in range(videos):
        total = [0.0] * classes
        for s in range(clips):
            exponentials = [float(x) for x in logits_VSC[v, s].double().exp()]
            probabilities = [x / sum(exponentials) for x in exponentials]
            total = [a + b for a, b in zip(total, probabilities, strict=True)]
            better = sum(p > probabilities[label_V[v]] for p in probabilities)
            for k in (1, 5):
                right[f"clip_top{k}"] += better < k
        better = sum(p > total[label_V[v]] for p in total)
        for k in (1, 5):
            right[f"video_top{k}"] += better < k
    return {name: 100 * count / (videos * clips if "clip" in name else videos) for name, count in right.items()}


@pytest.mark.parametrize("classes", [3, 9])
def test_scores_equal_a_slow_loop(classes: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    label_V = torch.randint(classes, (40,), generator=generator)
    logits_VSC = 2 * torch.randn(40, 7, classes, generator=generator)
    logits_VSC[torch.arange(40), :, label_V] += 1
    scores = score(logits_VSC, label_V, torch.arange(40))
    expected = slow_scores(logits_VSC, label_V)
    assert {name: accuracy.value for name, accuracy in scores.accuracies.items()} == pytest.approx(expected)
    assert {name: accuracy.n for name, accuracy in scores.accuracies.items()} == {
        "clip_top1": 280, "clip_top5": 280, "video_top1": 40, "video_top5": 40,
    }  # fmt: skip
    torch.testing.assert_close(scores.probability_VC.sum(1), torch.ones(40).double())
    if classes == 3:
        assert scores.accuracies["video_top5"].value == 100


def test_videos_of_one_source_widen_the_interval() -> None:
    generator = torch.Generator().manual_seed(0)
    label_V = torch.zeros(120, dtype=torch.int64)
    right_G = torch.rand(12, generator=generator) < 0.5
    logits_VSC = torch.zeros(120, 2, 2)
    logits_VSC[:, :, 0] = torch.where(right_G, 1.0, -1.0).repeat_interleave(10)[:, None]
    alone = score(logits_VSC, label_V, torch.arange(120)).accuracies["video_top1"]
    grouped = score(logits_VSC, label_V, torch.arange(12).repeat_interleave(10)).accuracies["video_top1"]
    assert grouped.value == alone.value
    assert grouped.high - grouped.low > 2.5 * (alone.high - alone.low)


def test_confusion_counts_every_pair() -> None:
    predicted_V, label_V = torch.tensor([2, 0, 1, 2, 2]), torch.tensor([2, 1, 1, 0, 2])
    assert confusion(predicted_V, label_V, 3).tolist() == [[0, 0, 1], [1, 1, 0], [0, 0, 2]]
