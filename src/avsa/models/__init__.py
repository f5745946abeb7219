"""Networks: video and audio encoders, translators, heads."""

from avsa.models.heads import BinaryHead, ProjectionHead
from avsa.models.network import AVSANetwork, NetworkSpec, build_network, load_weights

__all__ = ["AVSANetwork", "BinaryHead", "NetworkSpec", "ProjectionHead", "build_network", "load_weights"]
