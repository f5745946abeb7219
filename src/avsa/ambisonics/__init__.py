"""First-order ambisonics: encoding, rotation, formats, and where the energy comes from."""
