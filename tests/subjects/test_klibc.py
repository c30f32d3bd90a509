"""The third userland: what is in it, and that it runs."""

import pytest

from pytest_vmvc.backends.docker import ContainerSpec, DockerProvider
from pytest_vmvc.errors import BuildFailed
from pytest_vmvc.resources import RunScope
from pytest_vmvc.subjects import klibc


def unpacked(root, programs):
    for name in programs:
        path = root / "usr/lib/klibc/bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    library = root / "lib/klibc-abc.so"
    library.parent.mkdir(parents=True)
    library.write_bytes(b"library")
    return root


def test_programs_are_in_bin_and_the_library_where_they_look_for_it(tmp_path):
    tree = {e.path: e for e in klibc._tree(unpacked(tmp_path, ["cat", "sh", "sleep", "true"]))}
    assert tree["bin/sh"].data == b"sh"
    assert tree["bin/sh"].mode & 0o777 == 0o755
    assert tree["lib/klibc-abc.so"].data == b"library"


def test_a_package_without_a_shell_is_refused(tmp_path):
    with pytest.raises(BuildFailed, match="has no sh, sleep"):
        klibc._tree(unpacked(tmp_path, ["cat", "true"]))


@pytest.mark.engine
def test_it_runs_as_a_container():
    built = klibc.build(lambda *_: None)
    assert klibc.load() == built
    with RunScope() as scope:
        provider = DockerProvider(
            ContainerSpec(image=built.image_ref, userland=built.userland), scope
        )
        with provider.launch(deadline_s=60) as container:
            done = container.run(["sh"], stdin=b"sleep 5 >/dev/null 2>&1 & echo $!")
    assert done.exit_status == 0
    assert int(done.stdout) > 1
