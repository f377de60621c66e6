"""25 kills in every test run; `make chaos KILLS=200` for more, and the harness with `--real` for the real parts."""

from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from tests.chaos.harness import chaos, standin_setting

SEED = 4


@pytest.mark.timeout(900)
def test_no_row_is_lost_doubled_or_changed_by_25_kills(prefect_server: None, tmp_path: Path) -> None:
    setting = standin_setting(tmp_path, "stepwise", str(PREFECT_API_URL.value()))
    print(f"seed {SEED}")
    report = chaos(25, SEED, setting, tmp_path, print)
    print(report)
    assert report.kills.total() == 25
    assert not report.wrong
