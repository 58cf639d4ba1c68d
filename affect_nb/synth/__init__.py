"""The embedded world: importing this room makes the twin of every database known."""
from . import affwild_twins, action_unit_twins, own_twin, photo_twins, va_twins
from .faces import Identity, render_face
from .twins import list_synthetic, write_database

__all__ = ["Identity", "list_synthetic", "render_face", "write_database"]
