"""Directions on the sphere, equirectangular pixels, and perspective crops of panoramas."""
