"""Checks that a built wheel holds every file a run needs: scripts, pages, data."""

import subprocess
import sys
import zipfile

FOLDERS = {"gateway/": "gateway/", "lua/": "gateway/lua/"}


def main(wheel: str) -> int:
    """Compare the wheel with what git knows; name what is missing."""
    packed = set(zipfile.ZipFile(wheel).namelist())
    listing = subprocess.run(
        ["git", "ls-files", "gateway", "lua"], capture_output=True, text=True, check=True
    )
    missing = []
    for name in listing.stdout.split("\n"):
        for folder, place in FOLDERS.items():
            if name.startswith(folder) and place + name.removeprefix(folder) not in packed:
                missing.append(name)
    for name in missing:
        sys.stderr.write(f"not in the wheel: {name}\n")
    sys.stdout.write(f"{len(packed)} files in the wheel, {len(missing)} missing\n")
    return 1 if missing or not packed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
