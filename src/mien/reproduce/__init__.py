"""The papers' tables: arms and published figures, which runs they need, and the table that comes out."""
