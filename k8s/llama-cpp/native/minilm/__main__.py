"""`python minilm FOLDER`: makes the embedding model of the provider in that folder."""

import sys
from pathlib import Path

from minilm_gguf import main

main(Path(sys.argv[1]))
