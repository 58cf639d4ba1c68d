"""The databases: importing this room makes every adapter known to `open_database`."""
from . import affwild, affwild2, disfa, bp4d, gft, own, affectnet, rafdb, emotionet, afew_va, sewa, omg
from .base import list_databases, open_database, register_database

__all__ = ["list_databases", "open_database", "register_database"]
