"""The science, on torch and numpy alone: vocabularies, containers, relatedness, measures and losses."""
from .coupling import co_annotate, distribution_matching_loss, matched_au_distribution, soft_co_annotation
from .labels import AUS8, AUS17, AUS17_TABLE5, EXPRESSIONS, AffectOutput, AffectTargets
from .losses import au_loss, ccc_loss, expression_loss, multitask_loss
from .metrics import (accuracy, afa, au_accuracy, au_f1, au_score, ccc, expression_score, macro_f1, mean_diagonal, mse,
                      uar)
from .relatedness import AFFWILD2, COGNITIVE, COMPOUND, Relatedness

__all__ = ["EXPRESSIONS", "AUS8", "AUS17", "AUS17_TABLE5", "AffectTargets", "AffectOutput", "Relatedness", "COGNITIVE",
           "AFFWILD2", "COMPOUND", "ccc", "mse", "macro_f1", "accuracy", "mean_diagonal", "uar", "expression_score",
           "au_f1", "au_accuracy", "au_score", "afa", "ccc_loss", "expression_loss", "au_loss", "multitask_loss",
           "co_annotate", "matched_au_distribution", "distribution_matching_loss", "soft_co_annotation"]
