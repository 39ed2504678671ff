"""``mien data audit``: finds, counts and shows what is wrong with a store.

``copies`` (what the pairs of ``near_duplicates`` mean), ``findings`` (pure functions beside copies) → ``figures`` and
``verdict`` (audit.json) → ``examples``, ``sheets``, ``charts``, ``page`` (what people look at); ``run`` holds it
together.
"""
