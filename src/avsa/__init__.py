"""Audio-visual spatial alignment: self-supervised learning from 360° video with first-order ambisonics."""
