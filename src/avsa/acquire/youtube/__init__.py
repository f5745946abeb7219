"""Listed videos from YouTube or a mirror: whole, with first-order ambisonics, as equirectangular panoramas."""
