"""One target under a coverage-guided fuzzer: ``coverage_guided.py TARGET FOLDER [option ...]``.

Needs `atheris`; options are libFuzzer's. FOLDER keeps the inputs that were found to matter, and the
one that broke something.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pytest_vmvc"]):
    from targets import BY_NAME, NASTY


def main() -> None:
    name, folder, *options = sys.argv[1:]
    target, place = BY_NAME[name], Path(folder)
    corpus = place / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
        target.feed(seed)  # what is imported lazily takes none of the fuzzer's time
    words = (b"".join(b"\\x%02x" % byte for byte in word) for word in NASTY if len(word) < 64)
    (place / "words").write_bytes(b"".join(b'"%s"\n' % word for word in words))
    atheris.Setup(
        [
            sys.argv[0], str(corpus), f"-dict={place / 'words'}", f"-artifact_prefix={place}/",
            "-max_len=65536", "-timeout=60", "-rss_limit_mb=2048", "-verbosity=0",
            "-print_final_stats=1", *options,
        ],
        target.feed,
    )  # fmt: skip
    atheris.Fuzz()


if __name__ == "__main__":
    main()
