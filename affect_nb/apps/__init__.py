"""What one runs: prediction, the book, its report, the annotated face. Names are imported when they are used."""
import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "predictor": ["Predictor"],
    "predict": ["predict_files"],
    "explore": ["AUStudio"],
    "run": ["load_preset", "run_book"],
    "report": ["write_report"],
    "bench": ["run_benchmarks"],
})
