"""What one runs and looks at: prediction, scores, pictures, the book and its report; names are imported when used."""
import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach("affect_nb", submod_attrs={
    "apps.predictor": ["Predictor"],
    "apps.predict": ["predict_files"],
    "apps.player": ["ClipPlayer"],
    "apps.explore": ["AU_NAMES", "AUStudio", "affect_of_aus", "compound_table", "emotion_scores", "explore_clip",
                     "explore_map"],
    "apps.va_map": ["AffectMap"],
    "apps.au_drawing": ["AUFace", "au_face"],
    "apps.batch_inspector": ["inspect_batch"],
    "apps.comparison": ["compare_runs"],
    "apps.dashboard": ["DashboardCallback", "explore_training"],
    "apps.annotation_tables": ["agreement_view", "annotator_tables", "collect_annotations", "export_annotations"],
    "apps.run": ["load_preset", "run_book"],
    "apps.grid": ["load_grid", "run_grid"],
    "apps.runs": ["find_runs", "write_index"],
    "apps.report": ["write_report"],
    "apps.bench": ["run_benchmarks"],
    # of the room below: what one looks at
    "analysis.annotated_film": ["plot_predictions"],
    "analysis.evaluate": ["evaluate", "per_clip"],
    "analysis.scores": ["prediction_table"],
    "analysis.plots": ["label_histograms", "plot_va_points", "plot_va_trace", "va_density", "va_plane"],
    "analysis.consistency": ["consistency", "consistency_table", "plot_consistency", "predicted_and_matched"],
    "analysis.compound": ["RAFDB_CLASSES", "chance", "compound_classes", "compound_confusion", "compound_measures",
                          "compound_scores", "du_classes", "nearest_prototype", "plot_confusion", "plot_mistakes",
                          "worst_mistakes"],
    "analysis.few_shot": ["CompoundPhotographs", "k_shot_curve", "plot_k_shot"],
    "analysis.feature_maps": ["autocorrelation", "keep_maps", "plot_maps", "receptive_field", "silenced", "tap_maps"],
    "data.showcase": ["show_faces"],
})
