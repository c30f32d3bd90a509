"""The README's claim works as it stands there."""

import re
from pathlib import Path

README = Path(__file__).parent.parent.parent / "README.md"
PAGES = [README, *sorted((README.parent / "docs").rglob("*.md"))]


def test_the_own_claim_of_the_readme(bed):
    (snippet,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    bed.pytester.makepyfile(test_own=snippet)
    bed.run().assert_outcomes(passed=2)
    assert bed.verdicts() == {"container-under-a-second": "SUPPORTED", "vm-in-minutes": "REFUTED"}


def test_every_option_of_readme_and_documentation_exists(bed):
    text = "".join(page.read_text() for page in PAGES)
    options = set(re.findall(r"--vmvc(?:-[a-z]+)*", text))
    help_text = bed.pytester.runpytest("--help").stdout.str()
    assert options
    assert not [option for option in options if option not in help_text]
