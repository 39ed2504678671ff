"""`make demo`: two real photos in, their expressions out; shows the command that a user would type.

    python scripts/demo.py [OUT]    annotated pictures go to OUT, demo-out by default

The photos (public domain) come with matplotlib and scikit-image: Grace Hopper's portrait and the astronaut Eileen
Collins. Nothing is downloaded.
"""

import json
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

PHOTOS = {"matplotlib": "mpl-data/sample_data/grace_hopper.jpg", "skimage": "data/astronaut.png"}


def photos() -> list[Path]:
    """The photos that are there; without either, a message that says what to install."""
    found = []
    for package, relative in PHOTOS.items():
        spec = find_spec(package)
        if spec is not None and spec.origin is not None and (file := Path(spec.origin).parent / relative).is_file():
            found.append(file)
    if not found:
        sys.exit("error: expected matplotlib or scikit-image for their photos; pip install matplotlib scikit-image")
    return found


def main(out: Path) -> int:
    command = [str(Path(sys.executable).parent / "mien"), "read", *map(str, photos()), "--annotate", str(out)]
    print(f"$ {shlex.join(['mien', *command[1:]])}\n", flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    for line in done.stdout.splitlines():
        reading = json.loads(line)
        print(
            f"{Path(reading['source']).name}: {reading['width']}×{reading['height']}, {len(reading['faces'])} face(s)"
        )
        for face in reading["faces"]:
            x, y, w, h = face["box"]
            print(f"  face at x={x:.0f} y={y:.0f}, {w:.0f}×{h:.0f} px: {face['expression']} ({face['confidence']:.0%})")
            for name, p in sorted(face["probabilities"].items(), key=lambda item: -item[1]):
                print(f"    {name:9}{p:7.1%} {'█' * round(p * 40)}")
    if done.returncode == 0:
        print("\nannotated pictures:")
        for photo in photos():
            print(f"  {(out / photo.name).resolve()}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out")))
