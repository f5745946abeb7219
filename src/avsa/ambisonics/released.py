"""The rotation that published checkpoints were trained with, its error included. Nothing but such a checkpoint wants
it; `avsa.ambisonics.foa.turn_to` is right."""

from torch import Tensor

from avsa.ambisonics.foa import turn_to
from avsa.geometry.sphere import Angle


def released_turn_to(azimuth: Angle, elevation: Angle) -> Tensor:
    """The channel matrix (..., 4, 4) of R_z(−φ)·R_y(θ) on (x, y, z), yaw and pitch in the wrong order.

    A source at (φ, θ) ends off the front: by 10° at (45°, 30°), 30° at (90°, 30°), 60° at (180°, 30°).
    """
    return turn_to(azimuth, 0.0) @ turn_to(0.0, elevation)
