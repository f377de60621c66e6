"""The times at which OpenRLHF logged its optimizer steps, as JSON: out of a folder of tensorboard events."""

import json
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

times: dict[int, float] = {}
for path in sorted(Path(sys.argv[1]).rglob("events.out.tfevents.*")):
    for event in LegacyEventFileLoader(str(path)).Load():
        if any(value.tag == "train/acc_mean" for value in event.summary.value):
            times[event.step] = event.wall_time
print(json.dumps([times[step] for step in sorted(times)]))
