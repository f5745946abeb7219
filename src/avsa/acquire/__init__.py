"""Sources of 360° recordings: each ends as the same raw form, a video with first-order ambisonics beside it."""
