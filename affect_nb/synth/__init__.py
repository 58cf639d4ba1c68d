"""The embedded world: importing this room makes the twin of every database known."""
from . import affwild_twins
