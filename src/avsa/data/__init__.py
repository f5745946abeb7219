"""Clip store to training input: decoding, random draws, batches, views on the device, normalisation statistics."""
