"""``mien data audit``: what is wrong with a store, found, counted and shown.

``search`` (pairs) and ``copies`` (what they mean), ``findings`` (pure functions beside copies) → ``figures`` and
``verdict`` (audit.json) → ``examples``, ``sheets``, ``charts``, ``page`` (what people look at); ``run`` holds it
together. ``search`` also serves the build, which must not put copies on both sides of a split.
"""
