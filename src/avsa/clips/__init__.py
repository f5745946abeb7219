"""The clip store: raw recordings -> checked clips of one format in tar shards, with a manifest and a ledger of refusals."""
