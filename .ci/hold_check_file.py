"""Write the hold check as one file that Python runs: `python3 .ci/hold_check_file.py hold_check.pyz`."""

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START = "import sys\n\nfrom ops.tools.hold_check.command import main\n\nsys.exit(main())\n"
PACKAGE = "ops/tools/hold_check"


def write_file(target: Path) -> None:
    """Write the program. The same sources give the same bytes."""
    parents = [ROOT / "ops" / "__init__.py", ROOT / "ops" / "tools" / "__init__.py"]
    sources = [ROOT / "LICENSE", *parents, *sorted((ROOT / PACKAGE).glob("*.py"))]
    files = {str(each.relative_to(ROOT)): each.read_text(encoding="utf-8") for each in sources}
    with target.open("wb") as out:
        out.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(out, "a") as archive:
            for name, text in {**files, "__main__.py": START}.items():
                archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    write_file(Path(sys.argv[1]))
