"""Training: a recipe, data, and one call. Names are imported when they are used, so that one room costs no other."""
import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "learner": ["affect_learner"],
    "recipes": ["Recipe", "affwildnet_recipe", "omg_recipe", "mt_vgg_recipe", "mt_vgg_gru_recipe", "av_mt_vgg_gru_recipe",
                "facebehaviornet_recipe", "fitting_arguments"],
    "fit": ["create_learner"],
    "jobs_database": ["adapt_recipe", "database_loaders", "train_on", "train_database"],
    "jobs_joint": ["train_joint"],
    "jobs_chain": ["mt_chain", "train_chain"],
    "toy": ["toy_dataloaders"],
})
