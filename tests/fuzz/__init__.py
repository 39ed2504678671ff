"""Inputs that attack: mutated files and hand-made attacks, each read in a process that may be killed.

    python -m tests.fuzz --minutes 10 [--kind picture --kind csv …] [--seed 0] [--report docs/reliability.md]
    python -m tests.fuzz.kills --kills 100 [--report docs/reliability.md]

An input is a function of (seed, kind, number), so any of them can be made again: ``--kind csv --only 123``.
``test_fuzz_inputs.py`` runs a short part of it in pytest, and every input that once found a fault.
"""
