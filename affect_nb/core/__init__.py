"""The science, on torch and numpy alone: vocabularies, containers, relatedness, measures, losses and colours."""
from .colours import EXPRESSION_COLOURS, VA_COLOURS
from .coupling import (au_divergence, co_annotate, distribution_matching_loss, matched_au_distribution,
                       soft_co_annotation, va_from_expressions)
from .labels import AUS8, AUS17, AUS17_TABLE5, EXPRESSIONS, AffectOutput, AffectTargets, describe
from .losses import (au_loss, ccc_loss, expression_loss, multi_target_loss, multitask_loss, multitask_terms,
                     soft_expression_loss)
from .metrics import (Moments, accuracy, afa, au_accuracy, au_f1, au_score, ccc, concordance, confusion,
                      expression_score, jensen_shannon, macro_f1, mean_diagonal, mse, squared_error, uar)
from .relatedness import (AFFWILD2, COGNITIVE, COMPOUND, VALENCE_AROUSAL, Relatedness, implied_va, shuffled,
                          write_relatedness)

__all__ = ["EXPRESSIONS", "AUS8", "AUS17", "AUS17_TABLE5", "AffectTargets", "AffectOutput", "describe",
           "Relatedness", "COGNITIVE", "AFFWILD2", "COMPOUND", "shuffled", "write_relatedness",
           "VALENCE_AROUSAL", "implied_va",
           "ccc", "mse", "macro_f1", "accuracy", "mean_diagonal", "uar", "expression_score", "au_f1", "au_accuracy",
           "au_score", "afa", "jensen_shannon", "confusion", "Moments", "concordance", "squared_error",
           "ccc_loss", "expression_loss", "soft_expression_loss", "multi_target_loss", "au_loss", "multitask_loss",
           "multitask_terms",
           "co_annotate", "matched_au_distribution", "au_divergence", "distribution_matching_loss",
           "soft_co_annotation", "va_from_expressions",
           "EXPRESSION_COLOURS", "VA_COLOURS"]
