"""The HTTP service: requests in, the command's JSON out; pictures are read in processes of their own.

One process speaks HTTP (``app``, ``guard``, ``bodies``, ``server``) and holds the one queue (``pool``); ``--workers``
processes read (``worker``), each with readers of its own. A picture travels to one of them through a pipe
(``frames``). So a crash, or a ``kill -9``, of a reading process costs no request: its pictures are read by another.
"""
