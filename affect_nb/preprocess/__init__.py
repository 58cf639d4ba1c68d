"""From videos and photographs to aligned faces: importing this room imports none of its modules."""
import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "detect": ["create_detector", "list_detectors"],
    "face_store": ["FaceStore"],
    "pipeline": ["Settings", "preprocess"],
})
