"""The databases: importing this room makes every adapter known to `open_database`."""
from . import affwild, affwild2, disfa, bp4d, gft, own, affectnet, rafdb, emotionet, afew_va, sewa, omg
