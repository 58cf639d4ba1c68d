__version__ = "0.1.0"

# fastai 2.8 calls torch.jit.script when it is imported, which PyTorch 2.14 warns of: nothing that its users can mend
import warnings as _warnings
_warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated", category=FutureWarning)
