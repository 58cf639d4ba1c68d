"""Training: a recipe, data, and one call. Names are imported when they are used, so that one room costs no other."""
import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach("affect_nb", submod_attrs={
    "train.learner": ["affect_learner"],
    "train.recipes": ["Recipe", "affwildnet_recipe", "omg_recipe", "mt_vgg_recipe", "mt_vgg_gru_recipe",
                      "av_mt_vgg_gru_recipe", "facebehaviornet_recipe", "fitting_arguments"],
    "train.fit": ["create_learner", "train_on"],
    "train.gradients": ["GradientConflict", "TaskLosses", "plot_conflict"],
    "train.jobs_database": ["adapt_recipe", "database_loaders", "train_database"],
    "train.jobs_joint": ["SETS", "train_joint"],
    "train.jobs_chain": ["mt_chain", "train_chain"],
    "train.toy": ["toy_dataloaders"],
    # of the room below: what one trains on
    "data.joint": ["proportional_sizes"],
    "data.loaders": ["AffectDL", "affect_dataloaders", "normalise_faces"],
    "data.sequences": ["Sequence", "SequenceDataset", "choose_face", "sequences_of"],
    "data.store": ["preprocess_database"],
})
