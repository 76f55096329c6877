"""Write pictures and a CLIP that are small enough to store. `make.sh` runs this with the old code on the path."""

import sys
from pathlib import Path

from cascade_core.mini.voc_layout import write_benchmark
from tests.tiny import write_tiny_clip

out = Path(sys.argv[1])
write_benchmark(out / "pictures", sizes={"train": 4, "val": 2, "test": 4})
write_tiny_clip(out / "clip")
