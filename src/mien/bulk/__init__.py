"""Reading millions of pictures: blocks of inputs, a Parquet shard each, by workers that may be killed at any time.

``listing`` fixes the inputs and cuts them into blocks; ``block`` reads one block into one shard, which a rename puts in
place, so that a block is done exactly when its shard exists; ``run`` is one run, from lock to manifest; ``engine``
keeps a process beside it in which ``scheduler`` gives blocks to the workers of a Ray cluster.
"""
