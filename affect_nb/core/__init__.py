"""The science, on torch and numpy alone: vocabularies, containers, relatedness, measures, losses and colours."""
from .colours import EXPRESSION_COLOURS, VA_COLOURS
from .coupling import (au_divergence, co_annotate, distribution_matching_loss, matched_au_distribution,
                       soft_co_annotation)
from .labels import AUS8, AUS17, AUS17_TABLE5, EXPRESSIONS, AffectOutput, AffectTargets, describe
from .losses import au_loss, ccc_loss, expression_loss, multitask_loss, multitask_terms
from .metrics import (Moments, accuracy, afa, au_accuracy, au_f1, au_score, ccc, concordance, confusion,
                      expression_score, macro_f1, mean_diagonal, mse, squared_error, uar)
from .relatedness import AFFWILD2, COGNITIVE, COMPOUND, Relatedness, shuffled, write_relatedness

__all__ = ["EXPRESSIONS", "AUS8", "AUS17", "AUS17_TABLE5", "AffectTargets", "AffectOutput", "describe",
           "Relatedness", "COGNITIVE", "AFFWILD2", "COMPOUND", "shuffled", "write_relatedness",
           "ccc", "mse", "macro_f1", "accuracy", "mean_diagonal", "uar", "expression_score", "au_f1", "au_accuracy",
           "au_score", "afa", "confusion", "Moments", "concordance", "squared_error",
           "ccc_loss", "expression_loss", "au_loss", "multitask_loss", "multitask_terms",
           "co_annotate", "matched_au_distribution", "au_divergence", "distribution_matching_loss",
           "soft_co_annotation",
           "EXPRESSION_COLOURS", "VA_COLOURS"]
