"""The databases: importing this room makes every adapter known to `open_database`."""
import lazy_loader

from . import affwild, affwild2, disfa, bp4d, gft, own, affectnet, rafdb, emotionet, afew_va, sewa, omg, ferplus, wider

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "base": ["list_databases", "open_database", "register_database"],
    "check": ["check_database"],
    "splits": ["check_split", "holdout", "official_split", "split_hash"],
})
