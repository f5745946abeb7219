"""The clip store: raw recordings become checked clips of one format, in tar shards with a manifest and a ledger."""
