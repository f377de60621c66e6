"""To look at what is there takes no longer than it must."""

import subprocess
import sys

from schemas.load import PROJECT

LOOKS = "flows.cli.entry, flows.cli.sql, flows.views.outcome, flows.views.show, flows.views.findings"


def test_who_looks_does_not_wait_for_prefect_to_be_imported() -> None:
    code = f"import sys, {LOOKS}; print(sorted({{'prefect', 'matplotlib', 'datasets', 'openai'}} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
