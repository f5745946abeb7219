"""Every pretext loss, forward and gradient, against a slow loop over the paper's equations."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from avsa.errors import UserError
from avsa.losses import OBJECTIVES, ContrastiveObjective
from avsa.models import AVSANetwork, NetworkSpec, build_network

TAU = 0.07
Row = tuple[int, int, int]  # video, moment, viewpoint


def _paper(name: str) -> Callable[[Row, Row], bool]:
    """Is this crop of the batch a candidate of that query? One sentence per pretext task."""
    return {
        # the pair itself, and every crop of the other videos
        "avc": lambda q, c: c == q or c[0] != q[0],
        "avc-multi": lambda q, c: c == q or c[0] != q[0],
        # the pair itself, other moments of the same video, other videos
        "avts": lambda q, c: c == q or c[:2] != q[:2],
        # every viewpoint of the same moment, other videos
        "avsa": lambda q, c: c[:2] == q[:2] or c[0] != q[0],
        "avsa+avts": lambda q, c: True,
        "hard-only": lambda q, c: c[:2] == q[:2],
    }[name]


def _released(name: str) -> Callable[[Row, Row], bool]:
    """Crops of other clips count only where they carry the query's viewpoint index."""
    return lambda q, c: _paper(name)(q, c) and (c[:2] == q[:2] or c[2] == q[2])


def _slow_loss(
    network: AVSANetwork,
    name: str,
    candidate: Callable[[Row, Row], bool],
    video: Tensor,
    audio: Tensor,
    clips: list[Row],
    hard_weight: float = 1.0,
    translated: bool | None = None,
) -> tuple[Tensor, float, float]:
    """(loss, share of correct video-to-audio matches, share of correct audio-to-video matches)."""
    K = video.shape[1]
    if translated is False or (name == "avc" and not translated):
        audio_pred, video_pred = video, audio
        audio_pred_head, video_pred_head = network.video_head, network.audio_head
    else:
        audio_pred, video_pred = network.translate(video, audio)
        audio_pred_head, video_pred_head = network.audio_pred_head, network.video_pred_head
    if name == "avc-multi":
        video, audio, video_pred, audio_pred = (
            x.max(dim=1).values[:, None] for x in (video, audio, video_pred, audio_pred)
        )
        K = 1
    rows = [(v, m, k) for v, m, _ in clips for k in range(K)]

    losses, hits = [], []
    for query_head, queries, key_head, keys in (
        (audio_pred_head, audio_pred, network.audio_head, audio),
        (video_pred_head, video_pred, network.video_head, video),
    ):
        z = [query_head(queries[n // K, n % K]) for n in range(len(rows))]
        t = [key_head(keys[n // K, n % K]) for n in range(len(rows))]
        terms, correct = [], 0
        for i, query in enumerate(rows):
            chosen = [j for j, row in enumerate(rows) if candidate(query, row)]
            similar = {j: z[i] @ t[j] / (z[i].norm() * t[j].norm()) for j in chosen}
            hard = {j for j in chosen if rows[j][:2] == query[:2] and rows[j] != query}
            weighted = [(hard_weight if j in hard else 1) * (s / TAU).exp() for j, s in similar.items()]
            denominator = torch.stack(weighted).sum()
            terms.append(-torch.log((similar[i] / TAU).exp() / denominator))
            correct += max(similar, key=lambda j: float(similar[j].detach())) == i
        losses.append(torch.stack(terms).mean())
        hits.append(correct / len(rows))
    return (losses[0] + losses[1]) / 2, hits[0], hits[1]


def _setup(B: int = 6, K: int = 3) -> tuple[AVSANetwork, Tensor, Tensor, list[Row]]:
    network = build_network(NetworkSpec(10, 1 / 32, 1 / 16, translator_dropout=0.0), seed=0).double()
    generator = torch.Generator().manual_seed(1)
    shared = torch.randn(B, K, 16, generator=generator, dtype=torch.float64)
    video = shared + 0.5 * torch.randn(B, K, 16, generator=generator, dtype=torch.float64)
    audio = torch.randn(B, K, 32, generator=generator, dtype=torch.float64)
    audio[..., :16] += shared
    clips = [(7, 0, 0), (7, 3, 0), (2, 1, 0), (5, 0, 0), (2, 0, 0), (9, 0, 0)][:B]  # videos 7 and 2 at two moments each
    return network, video, audio, clips


@pytest.mark.parametrize("candidate_set", ["paper", "released"])
@pytest.mark.parametrize(
    ("name", "K"),
    [(name, K) for name in OBJECTIVES for K in (1, 3) if (name, K) != ("hard-only", 1)],  # that one has no negatives
)
def test_loss_gradient_and_accuracy_equal_the_slow_loop(name: str, candidate_set: str, K: int) -> None:
    network, video, audio, clips = _setup(K=K)
    video.requires_grad_()
    audio.requires_grad_()
    inputs = [video, audio, *network.parameters()]
    candidate = (_paper if candidate_set == "paper" else _released)(name)

    wanted, hit_v2a, hit_a2v = _slow_loss(network, name, candidate, video, audio, clips)
    wanted_grads = torch.autograd.grad(wanted, inputs, allow_unused=True)
    objective = ContrastiveObjective(name, candidate_set)  # type: ignore[arg-type]
    video_B, moment_B = torch.tensor([c[0] for c in clips]), torch.tensor([c[1] for c in clips])
    loss, metrics = objective(network, video, audio, video_B, moment_B)
    grads = torch.autograd.grad(loss, inputs, allow_unused=True)

    assert abs(float((loss - wanted).detach())) < 1e-8
    for grad, reference in zip(grads, wanted_grads, strict=True):
        assert (grad is None) == (reference is None)
        if grad is not None and reference is not None:
            torch.testing.assert_close(grad, reference, rtol=1e-8, atol=1e-8)
    assert float(metrics["accuracy_v2a"]) == pytest.approx(hit_v2a, abs=1e-12)
    assert float(metrics["accuracy_a2v"]) == pytest.approx(hit_a2v, abs=1e-12)
    assert ("within_clip_v2a" in metrics) == (K > 1 and name != "avc-multi")
    assert not any(value.requires_grad for value in metrics.values())


@pytest.mark.parametrize(
    ("name", "hard_weight", "translated"),
    [("avsa", 5.0, None), ("avsa", 0.2, False), ("hard-only", 3.0, None), ("avc", 1.0, True)],
)
def test_weights_of_hard_negatives_and_the_choice_of_translators(
    name: str, hard_weight: float, translated: bool | None
) -> None:
    network, video, audio, clips = _setup()
    wanted, hit_v2a, hit_a2v = _slow_loss(
        network, name, _paper(name), video, audio, clips, hard_weight=hard_weight, translated=translated
    )
    wanted_grads = torch.autograd.grad(wanted, list(network.parameters()), allow_unused=True)
    objective = ContrastiveObjective(name, hard_weight=hard_weight, translated=translated)
    video_B, moment_B = torch.tensor([c[0] for c in clips]), torch.tensor([c[1] for c in clips])
    loss, metrics = objective(network, video, audio, video_B, moment_B)
    grads = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
    assert abs(float((loss - wanted).detach())) < 1e-8
    for grad, reference in zip(grads, wanted_grads, strict=True):
        assert (grad is None) == (reference is None)
        if grad is not None and reference is not None:
            torch.testing.assert_close(grad, reference, rtol=1e-8, atol=1e-8)
    assert float(metrics["accuracy_v2a"]) == pytest.approx(hit_v2a, abs=1e-12)
    assert float(metrics["accuracy_a2v"]) == pytest.approx(hit_a2v, abs=1e-12)


def test_clips_without_numbers_are_videos_of_their_own() -> None:
    network, video, audio, _ = _setup()
    objective = ContrastiveObjective("avsa+avts")
    numbered, _ = objective(network, video, audio, torch.arange(6) * 10, torch.zeros(6, dtype=torch.long))
    assert torch.equal(objective(network, video, audio)[0], numbered)


def test_temperature_divides_the_similarities() -> None:
    """At a very high temperature all N·K candidates are equally likely."""
    network, video, audio, _ = _setup()
    loss, _ = ContrastiveObjective("avsa", temperature=1e9)(network, video, audio)
    assert float(loss.detach()) == pytest.approx(math.log(18), abs=1e-6)


def test_within_clip_accuracy_of_perfect_and_of_shuffled_features() -> None:
    network, video, _, _ = _setup()
    network.audio_head = network.video_head  # both modalities then live in one space
    _, metrics = ContrastiveObjective("avc")(network, video, video)
    assert float(metrics["within_clip_v2a"]) == float(metrics["accuracy_a2v"]) == 1.0
    shifted = video.roll(1, dims=1)  # right clip, wrong viewpoint
    _, metrics = ContrastiveObjective("avc")(network, video, shifted)
    assert float(metrics["within_clip_v2a"]) == float(metrics["within_clip_a2v"]) == 0.0
    half = torch.cat([video[:3], shifted[3:]])
    _, metrics = ContrastiveObjective("avc")(network, video, half)
    assert float(metrics["within_clip_v2a"]) == 0.5


def test_bf16_features_do_not_coarsen_the_similarities() -> None:
    network, video, audio, _ = _setup()
    network, video, audio = network.float(), video.bfloat16().float(), audio.bfloat16().float()
    objective = ContrastiveObjective("avc")
    with torch.autocast("cpu", torch.bfloat16):
        sides = objective.embed(network, video, audio)
        loss, _ = objective(network, video, audio)
    query, key = (side.flatten(0, 1).double() for side in sides["v2a"])
    assert sides["v2a"].query.dtype == loss.dtype == torch.float32
    both = []
    for logits in (query @ key.T / TAU, key @ query.T / TAU):
        logits[torch.block_diag(*[1 - torch.eye(3)] * 6).bool()] = -torch.inf
        both.append(-logits.log_softmax(dim=1).diagonal().mean())
    assert float(loss.detach()) == pytest.approx(float((both[0] + both[1]).detach()) / 2, abs=1e-5)


@pytest.mark.parametrize(("name", "B", "K"), [("hard-only", 6, 1), ("avc", 1, 3), ("avc-multi", 1, 3), ("avts", 1, 3)])
def test_batch_without_negatives_is_refused(name: str, B: int, K: int) -> None:
    network, video, audio, _ = _setup(B, K)
    with pytest.raises(
        UserError, match=f"objective '{name}' has no negatives in a batch of {B} clips × {K} viewpoints"
    ):
        ContrastiveObjective(name)(network, video[:B], audio[:B])


def test_two_clips_with_the_same_numbers_are_refused() -> None:
    network, video, audio, _ = _setup()
    with pytest.raises(ValueError, match="same video and moment numbers"):
        ContrastiveObjective("avsa")(network, video, audio, torch.tensor([0, 1, 2, 3, 4, 0]))


def test_unknown_objective_names_the_known_ones() -> None:
    with pytest.raises(UserError, match="unknown objective 'avca': choose one of avc, avc-multi, avts, avsa"):
        ContrastiveObjective("avca")
