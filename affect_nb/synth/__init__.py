"""The embedded world: importing this room makes the twin of every database known."""
import lazy_loader

from . import affwild_twins, action_unit_twins, ferplus_twins, own_twin, photo_twins, va_twins, wider_twin

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "action_units": ["DRAWN_AUS", "au_vector"],
    "crowds": ["CrowdScene", "draw_crowd"],
    "episodes": ["ACTIVE_FROM", "PROTOTYPES", "affect_aus", "emotion_probabilities", "make_episode"],
    "faces": ["Actor", "Identity", "Pose", "Scene", "expression_aus", "render_face", "render_frame"],
    "films": ["Person", "VideoPlan", "aligned_crop", "draw_video", "episode_of", "film_video", "sound_of"],
    "photo_twins": ["PhotoPlan", "compound_aus", "draw_photo", "moment"],
    "raters": ["annotate_expression", "annotate_va", "draw_annotators"],
    "twins": ["SIZES", "SyntheticSize", "get_twin", "list_synthetic", "plan_database", "write_database"],
    "voices": ["make_voice"],
})
