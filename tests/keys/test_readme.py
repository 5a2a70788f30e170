import doctest
import re
from pathlib import Path

import pytest

import ephemera_keys

README = Path(ephemera_keys.__file__).parents[1] / "README.md"


class RandomNames(doctest.OutputChecker):
    """Takes one kid or fingerprint for another: a run makes new ones."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return super().check_output(_unnamed(want), _unnamed(got), optionflags)


def _unnamed(text: str) -> str:
    return re.sub(r"\b[0-9a-f]{16}\b", "FINGERPRINT", re.sub(r"[\w-]{43}", "KID", text))


def test_the_examples_of_the_readme_run_as_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    examples = re.sub(r"^```.*$", "", README.read_text(), flags=re.MULTILINE)
    test = doctest.DocTestParser().get_doctest(examples, {}, "README", str(README), 0)
    report: list[str] = []
    outcome = doctest.DocTestRunner(RandomNames()).run(test, out=report.append)
    assert outcome.attempted == 18
    assert not outcome.failed, "".join(report)
