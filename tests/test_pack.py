"""A pack of claims: found as a package, a folder or a file; what is wrong in it has its place."""

import re
import sys

import pytest

from pytest_vmvc import pack
from pytest_vmvc.__main__ import main
from pytest_vmvc.errors import UsageError
from pytest_vmvc.new_command import write


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch):
    """What a pack's import changes is of this process."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        del sys.modules[name]


@pytest.fixture
def folder(tmp_path):
    """Claims in it and below it, and files that are none."""
    for place, name in (("a", "own.a"), ("a/b", "own.b"), ("a/.hidden", "own.hidden")):
        write(name, tmp_path / place)
    (tmp_path / "a" / "helper.py").write_text("raise RuntimeError")
    return tmp_path / "a"


def ids(said):
    return [line.split()[0] for line in said.splitlines() if not line.startswith(" ")]


def test_a_folder_and_a_file_are_listed(folder, capsys, monkeypatch):
    assert main(["claims", "--package", str(folder)]) == 0
    assert ids(capsys.readouterr().out) == ["own.b", "own.a"]
    monkeypatch.chdir(folder)
    assert main(["claims", "--package", "b/test_own_b.py"]) == 0
    assert ids(capsys.readouterr().out) == ["own.b"]
    assert main(["claims", "--package", ".", "-o", "pages"]) == 0
    assert (folder / "pages" / "own.a.md").exists()


def test_a_package_has_the_same_files_by_the_same_names(folder, monkeypatch):
    for place in (folder, folder / "b"):
        (place / "__init__.py").touch()
    by_path = pack.modules(str(folder))
    assert [one.__name__ for one in by_path] == ["a.b.test_own_b", "a.test_own_a"]
    assert pack.modules("a") == by_path
    assert pack.modules("a.b") == by_path[:1]


def test_a_name_is_the_packages_and_a_path_the_folders(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    folder.rename("claims")
    assert "claims.test_table" in [one.__name__ for one in pack.modules("claims")]
    assert [one.__name__ for one in pack.modules("./claims")] == ["test_own_b", "test_own_a"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\ny = (\n", r"test_bad\.py:2: SyntaxError: '\(' was never closed"),
        ("\n\nimport no_such_module\n", r"test_bad\.py:3: ModuleNotFoundError: No module"),
        ("import pytest\npytest.skip('no', allow_module_level=True)", r"bad\.py:2: Skipped: no"),
        (
            "from pytest_vmvc import below, claim\nclaim('Bad', quote='q', readings={})",
            r"test_bad\.py:2: claim id 'Bad' is malformed — like table\.boot-time",
        ),
        (
            "from pytest_vmvc import below, claim\n"
            "@claim('own.bad', quote='q', readings={'r': below('container', 'start', 1, 's')})\n"
            "def test_bad(reading, cold_start):\n    '''Bad.'''\n",
            r"test_bad\.py:2: reading r of own\.bad asks for start, .* is it start_s",
        ),
    ],
)
def test_what_is_wrong_in_a_file_has_its_line(folder, capsys, text, says):
    (folder / "test_bad.py").write_text(text)
    assert main(["claims", "--package", str(folder)]) == 64
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(says, error)


def test_two_claims_of_one_id_are_named_with_their_lines(folder):
    text = (folder / "test_own_a.py").read_text()
    (folder / "test_other.py").write_text(text)
    from pytest_vmvc import pages

    with pytest.raises(UsageError, match=r"own\.a: .*test_other\.py:6 and .*test_own_a\.py:6"):
        pages.declared(str(folder))


def test_two_files_that_would_be_one_module_are_named(folder):
    (folder / "b" / "test_own_a.py").write_text("")
    with pytest.raises(UsageError, match="are both called test_own_a"):
        pack.modules(str(folder))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_such_claims", "there is no package no_such_claims, nor a folder or file"),
        ("no_such.claims", "there is no package no_such.claims, nor a folder or file"),
        ("./none", "there is no package ./none, nor a folder or file"),
        ("json.decoder", "is a module — name the package"),
    ],
)
def test_what_is_no_pack_is_a_usage_error(name, says):
    with pytest.raises(UsageError, match=says):
        pack.modules(name)


def test_a_folder_without_a_test_file_is_no_pack(tmp_path):
    with pytest.raises(UsageError, match=r"has no test file — call it test_\*\.py"):
        pack.modules(str(tmp_path))


def test_a_package_that_breaks_on_its_way_is_told(folder):
    for place, text in ((folder, "raise OSError('broken')"), (folder / "b", "")):
        (place / "__init__.py").write_text(text)
    sys.path.insert(0, str(folder.parent))
    with pytest.raises(UsageError, match=r"the package a\.b cannot be imported: OSError: broken"):
        pack.modules("a.b")
    with pytest.raises(UsageError, match="OSError: broken"):
        pack.modules("a")
