"""Print the dependencies that a pyproject.toml names, one a line, as pip reads them: what an image needs to run."""

import sys
import tomllib
from pathlib import Path

if __name__ == "__main__":
    project = tomllib.loads(Path(sys.argv[1]).read_text())["project"]
    print("\n".join(project["dependencies"]))
