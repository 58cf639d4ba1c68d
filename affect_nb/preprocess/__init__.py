"""From videos and photographs to aligned faces: importing this room imports none of its modules."""
import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "align": ["FRONTAL", "align_face", "estimate_transform", "five_points", "normalise"],
    "detect": ["create_detector", "list_detectors"],
    "face_store": ["FaceStore", "FaceStoreWriter"],
    "frames": ["with_labels"],
    "landmarks": ["Landmarks68", "landmark_error"],
    "pipeline": ["Settings", "preprocess"],
    "pose": ["face_size", "head_pose", "poor_quality"],
    "sound": ["SoundStore"],
    "spectrogram": ["Spectrogram", "columns_of"],
    "track": ["FaceTracker"],
    "video": ["VideoReader"],
})
