"""The embedded world: importing this room makes the twin of every database known."""
from . import affwild_twins, action_unit_twins, own_twin, photo_twins, va_twins
