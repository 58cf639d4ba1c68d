"""The networks of the paper: importing this room registers every one of them."""
from . import affwildnet, baselines, facebehaviornet, fusion, multi_rnn, multitask
from .backbones import TAPS, VGG16
from .fusion import decision_weights
from .registry import create_model, list_models, register_model
from .shipped import list_weights, load_pretrained
from .weights import load_checkpoint, save_checkpoint

__all__ = ["list_models", "create_model", "register_model", "load_checkpoint", "save_checkpoint", "list_weights",
           "load_pretrained", "TAPS", "VGG16", "decision_weights"]
