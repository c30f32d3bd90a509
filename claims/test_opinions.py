"""Opinion and advice: no measurement decides it, and it is not dropped either."""

from pytest_vmvc import BoundReading, claim, opinion


@claim(
    "opinion.go-to-standard",
    quote="go-to standard",
    readings={
        "as-worded": opinion(
            "a word of praise without a scale: how many people use a thing can be counted, but not "
            "on this host, and from which number on it is the standard is anybody's choice"
        )
    },
)
def test_go_to_standard(reading: BoundReading) -> None:
    """Not measured: the article's word for how common containers have become."""
    reading.judge()


@claim(
    "opinion.docker-easy-to-learn",
    quote="learning Docker is easy",
    readings={
        "as-worded": opinion(
            "easy for whom: it takes people who learn, with what they knew before and somebody who "
            "examines them; a host can count commands, and those say nothing of learning"
        )
    },
)
def test_docker_easy_to_learn(reading: BoundReading) -> None:
    """Not measured: an encouragement to the reader."""
    reading.judge()


@claim(
    "opinion.not-fair-to-compare",
    quote="comparing them would not be fair",
    readings={
        "as-worded": opinion(
            "fairness is a judgement about purposes: quantities of both can be compared, as all "
            "other claims here do, and whether one should is for the reader to say"
        )
    },
)
def test_not_fair_to_compare(reading: BoundReading) -> None:
    """Not measured: the article's own reservation, in front of its comparison."""
    reading.judge()


@claim(
    "opinion.ideal-choice",
    quote="ideal choice",
    readings={
        "as-worded": opinion(
            "advice: an ideal depends on what one values, for instance on a kernel of one's own "
            "against time and bytes; those are measured under port.dev-many-platforms"
        )
    },
)
def test_ideal_choice(reading: BoundReading) -> None:
    """Not measured: the advice that follows from development on several platforms."""
    reading.judge()
