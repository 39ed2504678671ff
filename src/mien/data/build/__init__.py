"""Building a store: ingest, normalise, plan splits and balance, write shards; resumable."""
