"""What an exception stands for."""

from __future__ import annotations

import traceback
from typing import NoReturn

import pytest

from holdgate.core import Classifier, Outcome
from holdgate.core.causes import chain_of, find, is_plain, leaves, make_readable, named
from holdgate.errors import CallNotPermitted, Reject


class ApiError(Exception):
    """A client's own error."""


class Refined(ApiError):
    """A client's error that carries the original in an attribute."""

    def __init__(self, **carried: object) -> None:
        super().__init__("no")
        self.__dict__.update(carried)


class Guarded(Exception):
    """An error with a property that cannot be read, as httpx's `request`."""

    @property
    def reason(self) -> str:
        raise RuntimeError("not set")


def raised_from(outer: BaseException, inner: BaseException | None) -> BaseException:
    """`raise outer from inner`."""
    try:
        raise outer from inner
    except BaseException as error:  # noqa: BLE001 - any kind is built here
        return error


def raised_while_handling(outer: BaseException, inner: BaseException, *, hidden: bool = False) -> BaseException:
    """`outer`, raised in the `except` of `inner`; `hidden`: with `from None`."""
    try:
        try:
            raise inner
        except BaseException:  # noqa: BLE001 - any kind is built here
            if hidden:
                raise outer from None
            raise outer  # noqa: B904 - that it does not say from what is the case
    except BaseException as error:  # noqa: BLE001 - as above
        return error


def group(*members: BaseException) -> BaseException:
    """What a task group raises."""
    return BaseExceptionGroup("several", list(members))


REFUSED = ConnectionRefusedError()


@pytest.mark.parametrize(
    "error",
    [
        raised_from(ApiError(), REFUSED),
        raised_from(ApiError(), raised_from(ApiError(), REFUSED)),
        group(REFUSED),
        group(ValueError(), group(REFUSED, KeyError())),
        group(raised_from(ApiError(), REFUSED)),
        raised_from(ApiError(), group(REFUSED)),
        Refined(reason=REFUSED),
        Refined(cause=REFUSED),
        Refined(inner_exception=REFUSED),
        Refined(orig=REFUSED),
        ApiError("no", REFUSED),
        raised_while_handling(ApiError(REFUSED), REFUSED, hidden=True),
    ],
)
def test_what_was_put_there_on_purpose_is_said(error: BaseException) -> None:
    """Causes, members of groups, arguments and the usual attributes, however deep; and it is a failure of who claims the innermost."""
    said, meanwhile = chain_of(error)

    assert said[0] is error
    assert said.count(REFUSED) == 1
    assert meanwhile == []
    assert not is_plain(error)
    assert Classifier(ConnectionError).classify(error) is Outcome.FAILURE


def test_what_was_being_handled_comes_second() -> None:
    """Its own causes, and what was being handled before that, come with it."""
    inner = raised_while_handling(KeyError(), raised_from(ApiError(), REFUSED))
    error = raised_while_handling(ValueError(), inner)
    said, meanwhile = chain_of(error)

    assert said == [error]
    assert [type(each) for each in meanwhile] == [KeyError, ApiError, ConnectionRefusedError]
    assert Classifier(ConnectionError).classify(error) is Outcome.FAILURE


@pytest.mark.parametrize("error", [raised_while_handling(ApiError(), REFUSED, hidden=True), raised_from(ApiError(), None), ApiError()])
def test_from_none_hides_it(error: BaseException) -> None:
    """Whoever wrote `from None` has said that the one has nothing to do with the other."""
    assert is_plain(error)
    assert chain_of(error) == ([error], [])
    assert Classifier(ConnectionError).classify(error) is Outcome.IGNORED


def test_a_cause_hides_what_was_being_handled() -> None:
    """`raise A from B` while C is handled stands for B."""
    error = raised_while_handling(raised_from(ApiError(), ValueError()), REFUSED)

    assert [type(each) for each in chain_of(error).explicit] == [ApiError, ValueError]
    assert chain_of(error).implicit == []


def test_a_property_that_raises_carries_nothing() -> None:
    """Reading an exception never fails."""
    assert is_plain(Guarded())
    assert chain_of(raised_from(Guarded(), REFUSED)).explicit[1:] == [REFUSED]


def test_a_circle_ends() -> None:
    """Exceptions that stand for each other are each read once."""
    first, second = ApiError(), ValueError()
    first.__cause__, second.__cause__ = second, first
    second.__context__ = first

    assert chain_of(first).explicit == [first, second]
    assert named(first) == "ApiError from ValueError"


def test_a_group_of_thousands_is_read_as_far_as_a_thousand() -> None:
    """The event loop waits for it."""
    wide = group(*(ValueError() for _ in range(5000)), REFUSED)

    assert len(chain_of(wide).explicit) == 1000


def test_excluded_wins_wherever_somebody_put_it() -> None:
    """As a cause and in a group it is the message's own, with the default `failures` too."""
    classifier = Classifier(excluded=ValueError)

    assert classifier.classify(group(REFUSED, ValueError())) is Outcome.IGNORED
    assert classifier.classify(raised_from(ApiError(), ValueError())) is Outcome.IGNORED


def test_excluded_that_was_only_being_handled_excuses_nothing() -> None:
    """`except NotFound: await create()` that meets an outage has met an outage."""
    classifier = Classifier(excluded=KeyError)

    assert classifier.classify(raised_while_handling(ConnectionError(), KeyError())) is Outcome.FAILURE
    narrow = Classifier(OSError, ConnectionError)
    assert narrow.classify(raised_while_handling(ValueError(), REFUSED)) is Outcome.IGNORED


def test_a_refusal_or_a_rejection_within_is_no_outcome() -> None:
    """Neither says anything about the dependency; one that was only being handled says nothing at all."""
    for own in (CallNotPermitted("mail"), Reject()):
        assert Classifier().classify(group(REFUSED, own)) is None
        assert Classifier().classify(raised_from(ApiError(), own)) is None
        assert Classifier().classify(raised_while_handling(REFUSED, own)) is Outcome.FAILURE
        assert Classifier(KeyError).classify(raised_while_handling(ValueError(), own)) is Outcome.IGNORED


def test_a_group_without_an_exception_is_no_outcome() -> None:
    """Cancellation and the like, bundled."""
    assert Classifier().classify(group(GeneratorExit())) is None


def test_a_predicate_that_cannot_read_a_wrapper_reads_what_is_in_it() -> None:
    """A predicate written for one client's errors may raise on another's; only when nothing matches is that the answer."""
    classifier = Classifier(lambda error: error.errno is not None)  # type: ignore[attr-defined]

    assert classifier.classify(raised_from(ApiError(), OSError(5, "io"))) is Outcome.FAILURE
    with pytest.raises(AttributeError):
        classifier.classify(raised_from(ApiError(), ValueError()))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError(), "ValueError"),
        (raised_from(ApiError(), raised_from(KeyError(), REFUSED)), "ApiError from ConnectionRefusedError"),
        (ExceptionGroup("x", [REFUSED, TimeoutError(), REFUSED]), "ExceptionGroup of ConnectionRefusedError, TimeoutError"),
        (ExceptionGroup("x", [ExceptionGroup("y", [REFUSED])]), "ExceptionGroup of ConnectionRefusedError"),
        (raised_from(ApiError(), ExceptionGroup("x", [REFUSED])), "ApiError from ExceptionGroup of ConnectionRefusedError"),
    ],
)
def test_it_is_named_with_what_it_stands_for(error: BaseException, words: str) -> None:
    """A reader of the log sees the dependency's error, not only the wrapper."""
    assert named(error) == words


def test_it_is_named_as_one_likes() -> None:
    """With modules, for a dead letter."""
    assert named(ExceptionGroup("x", [REFUSED]), lambda kind: kind.__qualname__.upper()) == "EXCEPTIONGROUP of CONNECTIONREFUSEDERROR"


def test_the_leaves_are_the_members_that_are_no_groups() -> None:
    """The nearest first; of anything else, itself."""
    one, other = ValueError(), raised_from(ApiError(), REFUSED)

    assert leaves(group(group(one), other)) == [other, one]
    assert leaves(other) == [other]


def test_the_nearest_of_a_type_is_found() -> None:
    """What was put there on purpose before what was only being handled."""
    outer, inner = Reject("outer"), Reject("inner")

    assert find(raised_from(ApiError(), outer), Reject) is outer
    assert find(raised_while_handling(raised_from(ApiError(), outer), inner), Reject) is outer
    assert find(raised_while_handling(ApiError(), inner), Reject) is inner
    assert find(ValueError(), Reject) is None


def test_a_group_that_shows_no_member_is_its_own_leaf() -> None:
    """Thousands of groups within each other, or a class of its own that hides its members."""
    deep: Exception = ValueError()
    for _ in range(1100):
        deep = ExceptionGroup("one more", [deep])
    assert leaves(deep) == [deep]
    assert named(deep) == "ExceptionGroup of ExceptionGroup"


@pytest.mark.parametrize(
    "error",
    [
        ApiError("2 of 3 failed", [ValueError(), REFUSED]),
        ApiError("2 of 3 failed", (REFUSED,)),
        ApiError("2 of 3 failed", {REFUSED}),
        ApiError("no host", {"10.0.0.1": REFUSED}),
        Refined(errors=[REFUSED]),
        Refined(errors={"10.0.0.1": REFUSED}),
        Refined(original=REFUSED),
        Refined(exc=raised_from(ApiError(), REFUSED)),
        ApiError([group(REFUSED)]),
    ],
)
def test_errors_that_stand_together_in_an_error_are_said(error: BaseException) -> None:
    """A list after `gather(..., return_exceptions=True)`, a dict by host, and attributes of any name."""
    assert REFUSED in chain_of(error).explicit
    assert not is_plain(error)
    assert Classifier(ConnectionError).classify(error) is Outcome.FAILURE


def test_a_long_list_in_an_error_is_not_read_to_its_end() -> None:
    """A batch of a million rows stands in an error as well, and the event loop waits meanwhile."""
    assert len(chain_of(ApiError([REFUSED, *range(2000)])).explicit) == 2
    assert len(chain_of(ApiError([*range(2000), REFUSED])).explicit) == 1
    assert len(chain_of(ApiError([ValueError() for _ in range(2000)])).explicit) == 1000


class Listed(list[BaseException]):
    """A container with a mind of its own."""

    def __iter__(self) -> NoReturn:
        raise RuntimeError("not now")


def test_containers_of_other_people_are_not_read() -> None:
    """They are code, and it may raise."""
    assert chain_of(ApiError(Listed([REFUSED]))).explicit[1:] == []


def broken(name: str) -> type[Exception]:
    """A class whose attribute of this name cannot be read."""

    def fail(*_: object) -> NoReturn:
        raise RuntimeError(name)

    return type("Broken", (ConnectionError,), {name: fail if name == "__getattribute__" else property(fail)})


class Proxy:
    """A stand-in for something that is not there yet, and raises whatever it is asked."""

    __class__ = property(lambda _: 1 / 0)


def test_a_proxy_is_not_asked_what_it_is() -> None:
    """In an argument and in a list: that is other people's code, and raises."""
    assert len(chain_of(ApiError(Proxy(), [Proxy()])).explicit) == 1
    assert is_plain(ApiError(Proxy(), [Proxy()]))


UNREADABLE = ["args", "__cause__", "__context__", "__suppress_context__", "__traceback__", "__dict__", "__class__", "__getattribute__"]


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_read_all_the_same(name: str) -> None:
    """Its class raises where Python's own attribute stands: that attribute is read instead, of the error and of its links."""
    wraps = (lambda error: error, lambda error: raised_from(ApiError(), error), group, lambda error: ApiError([error]))
    for make in wraps:
        error = make(raised_from(broken(name)(), KeyError()))

        assert [type(link).__name__ for link in chain_of(error).explicit][-2:] == ["Broken", "KeyError"]
        assert Classifier(ConnectionError).classify(error) is Outcome.FAILURE
        assert named(error)
        make_readable(error)
        assert traceback.format_exception(error)


def test_one_that_cannot_be_read_may_have_slots() -> None:
    """Then the class between has to be laid out as its own."""
    error = type("Broken", (ConnectionError,), {"__slots__": (), "args": property(lambda _: 1 / 0)})()

    assert chain_of(raised_from(error, REFUSED)).explicit == [error, REFUSED]


def test_a_group_whose_members_cannot_be_read_keeps_them() -> None:
    """Its members are those that Python keeps."""
    for members in (property(lambda _: 1 / 0), None):
        kind = type("Broken", (ExceptionGroup,), {"exceptions": members})

        assert chain_of(kind("several", [REFUSED])).explicit[1:] == [REFUSED]


def test_what_can_be_read_keeps_its_class() -> None:
    """A property of such a name is no mistake."""
    kind = type("Fine", (Exception,), {"args": property(lambda _: (REFUSED,))})
    error = kind()
    make_readable(raised_from(ApiError(), error))

    assert type(error) is kind


def test_a_class_that_allows_no_heir_stays_as_it_is() -> None:
    """Then what it raises is raised: nothing can be done about it."""

    class Final(Exception):
        """It has no heirs."""

        args = property(lambda _: 1 / 0)

        def __init_subclass__(cls) -> NoReturn:
            raise TypeError

    error = Final()
    with pytest.raises(ZeroDivisionError):
        chain_of(error)
    assert type(error) is Final


def test_two_of_one_name_are_named_once() -> None:
    """An httpx.ConnectError comes from that of httpcore, and nobody learns anything from the second."""
    theirs = type("ApiError", (Exception,), {"__module__": "theirs"})

    assert named(raised_from(ApiError(), theirs())) == "ApiError"
    assert named(raised_from(ApiError(), theirs()), name_of=lambda kind: f"{kind.__module__}.{kind.__name__}").endswith(
        "from theirs.ApiError"
    )


def test_each_of_a_circle_is_read_once_when_it_is_made_readable() -> None:
    """Also the one that it began with: what stands behind its attributes is other people's code."""
    read: list[object] = []

    def args(error: BaseException) -> tuple[object, ...]:
        read.append(error)
        return ()

    kind = type("Watched", (Exception,), {"args": property(args)})
    alone, first, second = kind(), kind(), kind()
    make_readable(alone)
    once = read.count(alone)
    first.__cause__, second.__cause__ = second, first
    make_readable(first)

    assert once
    assert (read.count(first), read.count(second)) == (once, once)


@pytest.mark.parametrize(("before", "is_read"), [(998, True), (999, False)])
def test_a_thousand_are_made_readable(before: int, is_read: bool) -> None:
    """The group itself is one of them, and what comes later in it stays as it is."""
    error = broken("args")()
    kind = type(error)
    make_readable(group(*(ValueError() for _ in range(before)), error))

    assert (type(error) is not kind) is is_read


def test_what_is_made_readable_is_still_called_what_it_was() -> None:
    """In a log and in a dead letter: by its module and its name within that, and with its words."""
    more = {"__module__": "client.errors", "__qualname__": "Client.Broken", "__doc__": "The client's own words."}
    kind = type("Broken", (Exception,), {**more, "args": property(lambda _: 1 / 0)})
    error = kind()
    make_readable(error)
    found = type(error)

    assert found is not kind
    assert (found.__name__, found.__module__, found.__qualname__, found.__doc__) == ("Broken", *more.values())


def test_an_error_beside_a_list_of_errors_is_said_as_well() -> None:
    """`raise ChargesFailed(first, errors)` stands for all of them."""
    first, second = ValueError(), KeyError()

    assert chain_of(ApiError(first, [REFUSED], [second])).explicit[1:] == [first, REFUSED, second]
