"""The databases: importing this room makes every adapter known to `open_database`."""
from . import affwild, affwild2
