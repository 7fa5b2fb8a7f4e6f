"""What a build from source lacks beside the program: the runner, and a first model for machines that can pull none.

Usage: build.py OLLAMA LLAMA_CPP SMOLLM2 [RUNNER]: three providers' folders, and runner.py, which is copied because the
folder outlives the place of these files. A release brings a runner of its own.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

# `ollama create` calls it to copy the weights into its store; other types than COPY would need the real program.
QUANTIZE = """#!/bin/sh
for word; do before=$in in=$out out=$type type=$word; done
[ "$type" = COPY ] && exec cp "$in" "$out"
echo "llama-quantize: this build can't make $type; create the model from a file that is quantized already" >&2
exit 1
"""

# Without the system prompt of the model's own template, with which this quantization loses the thread.
MODELFILE = """FROM {model}
TEMPLATE \"\"\"{{{{ range .Messages }}}}<|im_start|>{{{{ .Role }}}}
{{{{ .Content }}}}<|im_end|>
{{{{ end }}}}<|im_start|>assistant
\"\"\"
PARAMETER stop <|im_end|>
"""


def write(path: Path, text: str, mode: int) -> None:
    path.write_text(text)
    path.chmod(mode)


def add_runner(libraries: Path, llama_cpp: Path, program: Path) -> None:
    """The two programs that Ollama looks for, as commands in the folder where it looks."""
    libraries.mkdir(parents=True)
    shutil.copyfile(program, libraries / program.name)
    words = [llama_cpp / "bin" / "python", "-I", libraries / program.name, llama_cpp]
    command = " ".join(shlex.quote(str(word)) for word in words)
    write(libraries / "llama-server", f'#!/bin/sh\nexec {command} "$@"\n', 0o755)
    write(libraries / "llama-quantize", QUANTIZE, 0o755)


def main(ollama: Path, llama_cpp: Path, smollm2: Path, *runner: Path) -> None:
    for program in runner:
        add_runner(ollama / "lib" / "ollama", llama_cpp, program)
    (model,) = smollm2.glob("*.gguf")
    write(ollama / "smollm2.Modelfile", MODELFILE.format(model=model), 0o644)


if __name__ == "__main__":
    main(*(Path(word).absolute() for word in sys.argv[1:]))
