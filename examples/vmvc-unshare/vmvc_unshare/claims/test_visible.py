"""What is visible inside of a container."""

from pytest_vmvc import BoundReading, Evidence, below, claim, ratio


@claim(
    "unshare.sees-itself",
    quote="a process in a PID namespace of its own sees nobody else",
    readings={
        "container-sees-few": below("container", "visible", 6, "", min_n=1).because(
            "its first process, the command that counts, and nobody else"
        ),
        "host-sees-more": ratio("host", "visible", over="container", above=2, min_n=1).because(
            "the positive control: the same count finds the host's processes"
        ),
    },
    pairs=("unshare",),
)
def test_sees_itself(reading: BoundReading, visible_processes: Evidence) -> None:
    """Numbered folders in /proc, counted by a command inside and by one on the host."""
    reading.judge(visible_processes)
