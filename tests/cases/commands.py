"""Commands run inside the test's process."""
import io
from contextlib import redirect_stderr, redirect_stdout

import pytest

from affect_nb.apps.cli import main


def command(*arguments):
    "The exit code of a command, and what it printed."
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end: main(list(map(str, arguments)))
    return end.value.code or 0, out.getvalue(), err.getvalue()
