"""The networks of the paper: importing this room registers every one of them."""
from . import affwildnet, baselines, facebehaviornet, fusion, multi_rnn, multitask
from .registry import create_model, list_models, register_model

__all__ = ["list_models", "create_model", "register_model"]
