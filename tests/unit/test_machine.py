"""The session as a machine: every state meets every event."""

from typing import Any

import pytest

from gateway.errors import (
    BadFrame,
    CloseCode,
    Forbidden,
    HoldfastError,
    Invalid,
    LimitExceeded,
    NotFound,
    Overloaded,
    RateLimited,
    ShowNotLive,
    Unauthenticated,
    Unavailable,
    UnknownType,
)
from gateway.messages import AnyCommand, Ask, Checkout, Connect, Extend, Payment, Refresh, Reserve
from gateway.model import Contact, Fulfillment, Hold, HoldState, LineRequest, Money, ShowState
from gateway.sessions.limits import Bucket
from gateway.sessions.machine import Busy, Close, Effect, Machine, Perform, Refuse
from gateway.tickets import Ticket, TicketExpired

CONNECT = Connect(id=1, token="t", show="tonight")
RESERVE = Reserve(id=2, key="k", lines=(LineRequest("tee", 1),))
COMMANDS: list[AnyCommand] = [
    RESERVE,
    Extend(id=3, hold="h"),
    Ask(id=4, text="?"),
    Refresh(id=5, token="t"),
    Checkout(
        id=6,
        hold="h",
        expected_total=Money(1, "EUR"),
        payment=Payment(payment_method="pm_1"),
        contact=Contact("a@example.com"),
    ),
]
TICKET = Ticket("ann", "shop", "tonight", exp=1_000)
NOW_MS = 1_000  # a second after the epoch; the ticket expires 999 s later


def fresh(burst: float = 1_000, in_flight: int = 2) -> Machine:
    return Machine(Bucket.full(10, burst, 0), connect_by_s=10, most_in_flight=in_flight)


def joining() -> Machine:
    machine = fresh()
    assert machine.commanded(CONNECT) == [Perform(CONNECT)]
    return machine


def live(show: ShowState = "live", *holds: Hold) -> Machine:
    machine = joining()
    machine.joined(TICKET, show, holds)
    return machine


def closed() -> Machine:
    machine = live()
    machine.overflowed()
    return machine


def hold(name: str, state: HoldState = "active") -> Hold:
    return Hold(name, state, (), Money(1, "EUR"), "2026-11-21T20:00:00.000Z", Fulfillment())


def codes(effects: list[Effect]) -> list[Any]:
    """What effects say: an error's code, a close code, or the command to perform."""
    said: list[Any] = []
    for effect in effects:
        match effect:
            case Refuse(error, _):
                said.append(error.code)
            case Close(code):
                said.append(code)
            case Perform(command):
                said.append(command)
    return said


class TestFresh:
    def test_connect_is_performed(self) -> None:
        assert fresh().commanded(CONNECT) == [Perform(CONNECT)]

    @pytest.mark.parametrize("command", COMMANDS)
    def test_any_other_command_ends_it(self, command: AnyCommand) -> None:
        effects = fresh().commanded(command)
        assert codes(effects) == ["unauthenticated", CloseCode.NEVER_CONNECTED]
        assert effects[0] == Refuse(effects[0].error, command.id)  # type: ignore[union-attr]

    @pytest.mark.parametrize("error", [BadFrame("?"), UnknownType("?"), Invalid("?")])
    def test_a_garbled_frame_ends_it(self, error: HoldfastError) -> None:
        assert codes(fresh().garbled(error, None)) == [error.code, CloseCode.BAD_FRAME]

    def test_it_has_so_long_to_connect(self) -> None:
        machine = fresh()
        assert machine.ticked(9.9, NOW_MS) == []
        assert codes(machine.ticked(10, NOW_MS)) == [CloseCode.NEVER_CONNECTED]
        assert machine.ticked(11, NOW_MS) == []

    def test_a_binary_frame_ends_it(self) -> None:
        assert codes(fresh().binary()) == ["bad_frame", CloseCode.BAD_FRAME]


class TestJoining:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_commands_wait_for_the_welcome(self, command: AnyCommand) -> None:
        assert codes(joining().commanded(command)) == ["unauthenticated"]

    def test_a_second_connect_is_refused(self) -> None:
        assert codes(joining().commanded(CONNECT)) == ["invalid"]

    def test_when_we_are_late_the_client_may_come_back(self) -> None:
        assert codes(joining().ticked(10, NOW_MS)) == [CloseCode.OVERLOADED]

    def test_a_few_garbled_frames_are_forgiven(self) -> None:
        assert codes(joining().garbled(BadFrame("?"), None)) == ["bad_frame"]

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (Unauthenticated("?"), CloseCode.BAD_TOKEN),
            (Forbidden("?"), CloseCode.BAD_TOKEN),
            (NotFound("?"), CloseCode.BAD_TOKEN),
            (TicketExpired("?"), CloseCode.TOKEN_EXPIRED),
            (ShowNotLive("?"), CloseCode.SHOW_ENDED),
            (LimitExceeded("?"), CloseCode.TOO_MANY_CONNECTIONS),
            (Unavailable("?"), CloseCode.OVERLOADED),
            (Overloaded("?"), CloseCode.OVERLOADED),
        ],
    )
    def test_being_refused_says_why_and_whether_to_come_back(
        self, error: HoldfastError, code: CloseCode
    ) -> None:
        machine = joining()
        assert machine.refused(error, 1) == [Refuse(error, 1), Close(code)]
        assert machine.commanded(RESERVE) == []

    def test_a_welcome_after_the_close_changes_nothing(self) -> None:
        machine = joining()
        machine.binary()
        machine.joined(TICKET, "live", ())
        assert machine.ticket is None
        assert machine.commanded(RESERVE) == []


class TestLive:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_commands_are_performed(self, command: AnyCommand) -> None:
        assert live().commanded(command) == [Perform(command)]

    def test_it_is_connected_once(self) -> None:
        assert codes(live().commanded(CONNECT)) == ["invalid"]

    def test_so_many_commands_may_be_in_flight(self) -> None:
        machine = live()
        assert codes([*machine.commanded(RESERVE), *machine.commanded(RESERVE)]) == [RESERVE] * 2
        assert codes(machine.commanded(RESERVE)) == ["rate_limited"]
        machine.answered()
        assert codes(machine.commanded(RESERVE)) == [RESERVE]

    def test_ten_bad_frames_are_forgiven_and_no_more(self) -> None:
        machine = live()
        for _ in range(10):
            assert codes(machine.garbled(BadFrame("?"), None)) == ["bad_frame"]
        assert codes(machine.garbled(BadFrame("?"), None)) == ["bad_frame", CloseCode.BAD_FRAME]

    @pytest.mark.parametrize("error", [UnknownType("?"), Invalid("?")])
    def test_wrong_commands_are_forgiven(self, error: HoldfastError) -> None:
        machine = live()
        for _ in range(50):
            assert codes(machine.garbled(error, 1)) == [error.code]

    def test_it_ends_when_its_ticket_does(self) -> None:
        machine = live()
        assert machine.ticked(1, 999_999) == []
        assert codes(machine.ticked(1, 1_000_000)) == [CloseCode.TOKEN_EXPIRED]

    def test_a_new_ticket_prolongs_it(self) -> None:
        machine = live()
        ticket = Ticket("ann", "shop", "tonight", exp=2_000)
        machine.may_refresh(ticket, 0)
        machine.refreshed(ticket)
        assert machine.ticked(1, 1_000_000) == []
        assert codes(machine.ticked(1, 2_000_000)) == [CloseCode.TOKEN_EXPIRED]

    @pytest.mark.parametrize(
        "ticket",
        [
            Ticket("bob", "shop", "tonight", 2_000),
            Ticket("ann", "other", "tonight", 2_000),
            Ticket("ann", "shop", "later", 2_000),
        ],
    )
    def test_a_ticket_for_something_else_does_not(self, ticket: Ticket) -> None:
        machine = live()
        with pytest.raises(Forbidden):
            machine.may_refresh(ticket, 0)
        assert codes(machine.ticked(1, 1_000_000)) == [CloseCode.TOKEN_EXPIRED]

    def test_tickets_are_not_used_up_without_end(self) -> None:
        machine = live()
        machine.refreshes = Bucket.full(0.01, 2, 0)
        ticket = Ticket("ann", "shop", "tonight", exp=2_000)
        for _ in range(2):
            machine.may_refresh(ticket, 1)
        with pytest.raises(RateLimited):
            machine.may_refresh(ticket, 2)
        machine.may_refresh(ticket, 102)

    def test_connecting_late_is_no_matter_any_more(self) -> None:
        assert live().ticked(11, NOW_MS) == []

    def test_a_client_that_does_not_read_is_closed(self) -> None:
        assert codes(live().overflowed()) == [CloseCode.SLOW_CONSUMER]

    def test_a_new_epoch_sends_it_back_for_a_snapshot(self) -> None:
        assert codes(live().epoch_changed()) == [CloseCode.EPOCH_CHANGED]


class TestTheEndOfTheShow:
    def test_whoever_has_nothing_leaves(self) -> None:
        machine = live()
        machine.show_changed("ended")
        assert codes(machine.ticked(1, NOW_MS)) == [CloseCode.SHOW_ENDED]

    @pytest.mark.parametrize("ending", ["released", "expired"])
    def test_whoever_holds_something_stays_as_long(self, ending: HoldState) -> None:
        machine = live("live", hold("a"))
        machine.hold_changed(hold("b"))
        machine.show_changed("ended")
        machine.hold_changed(hold("a", ending))
        assert machine.active == (hold("b"),)
        assert machine.ticked(1, NOW_MS) == []
        machine.hold_changed(hold("b", ending))
        assert codes(machine.ticked(1, NOW_MS)) == [CloseCode.SHOW_ENDED]

    def test_a_buyer_stays_for_the_confirmation(self) -> None:
        machine = live("live", hold("a"))
        machine.show_changed("ended")
        machine.hold_changed(hold("a", "committed"))
        assert machine.ticked(1, NOW_MS) == []
        assert machine.ticked(30, NOW_MS) == []
        assert codes(machine.ticked(31, NOW_MS)) == [CloseCode.SHOW_ENDED]

    def test_nobody_leaves_while_a_command_is_in_flight(self) -> None:
        machine = live()
        machine.commanded(RESERVE)
        machine.show_changed("ended")
        assert machine.ticked(1, NOW_MS) == []
        machine.answered()
        assert codes(machine.ticked(2, NOW_MS)) == [CloseCode.SHOW_ENDED]

    def test_one_who_comes_back_to_pay_stays(self) -> None:
        machine = live("ended", hold("a"))
        assert machine.ticked(1, NOW_MS) == []
        machine.hold_changed(hold("a", "expired"))
        assert codes(machine.ticked(2, NOW_MS)) == [CloseCode.SHOW_ENDED]

    def test_an_end_heard_while_joining_is_not_forgotten(self) -> None:
        machine = joining()
        machine.show_changed("ended")
        machine.joined(TICKET, "live", ())
        assert codes(machine.ticked(1, NOW_MS)) == [CloseCode.SHOW_ENDED]

    def test_a_hold_that_ended_while_joining_does_not_begin_again(self) -> None:
        machine = joining()
        machine.hold_changed(hold("new"))
        machine.hold_changed(hold("old", "expired"))
        machine.joined(TICKET, "live", (hold("old"), hold("other")))
        assert machine.active == (hold("new"), hold("other"))


class TestClosed:
    def test_nothing_happens_any_more(self) -> None:
        machine = closed()
        assert codes(machine.arrived(10, 0)) == [CloseCode.NORMAL]
        assert machine.commanded(RESERVE) == []
        assert machine.commanded(CONNECT) == []
        assert machine.ticked(10_000, 10_000_000) == []
        assert machine.overflowed() == []
        assert machine.epoch_changed() == []
        assert codes(machine.binary()) == ["bad_frame"]
        assert codes(machine.refused(Unavailable("?"), 1)) == ["unavailable"]

    def test_late_news_is_harmless(self) -> None:
        machine = closed()
        machine.show_changed("ended")
        machine.hold_changed(hold("a"))
        machine.answered()
        assert machine.ticked(1, NOW_MS) == []


class TestTheRate:
    def test_more_than_the_burst_is_refused_with_how_long_to_wait(self) -> None:
        machine = fresh(burst=3)
        assert [machine.arrived(0, 0) for _ in range(3)] == [[], [], []]
        [effect] = machine.arrived(0, 0)
        assert isinstance(effect, Refuse)
        assert (effect.command, effect.error.facts) == (None, {"retry_after_ms": 100})
        assert machine.arrived(0, 0.1) == []

    def test_what_a_shoppers_other_sockets_sent_counts_as_well(self) -> None:
        one, other = fresh(), fresh()
        one.shared = other.shared = Bucket.full(10, 3, 0)
        assert [machine.arrived(0, 0) for machine in (one, other, one)] == [[], [], []]
        [effect] = other.arrived(0, 0)
        assert isinstance(effect, Refuse)
        assert (effect.error.code, effect.error.facts) == ("rate_limited", {"retry_after_ms": 100})
        assert other.arrived(0, 0.1) == []

    def test_what_one_socket_may_not_send_costs_the_others_nothing(self) -> None:
        one, other = fresh(burst=1), fresh()
        one.shared = other.shared = Bucket.full(10, 2, 0)
        assert (
            codes([effect for _ in range(5) for effect in one.arrived(0, 0)])
            == ["rate_limited"] * 4
        )
        assert other.arrived(0, 0) == []

    def test_a_large_frame_costs_more_but_can_be_paid_for(self) -> None:
        machine = fresh(burst=3)
        assert machine.arrived(1_000_000, 0) == []
        assert codes(machine.arrived(0, 0)) == ["rate_limited"]

    def test_whoever_does_not_slow_down_is_closed(self) -> None:
        machine = fresh(burst=1)
        machine.arrived(0, 0)
        for _ in range(100):
            assert codes(machine.arrived(0, 0)) == ["rate_limited"]
        assert codes(machine.arrived(0, 0)) == [CloseCode.COMMAND_RATE]


def test_a_drain_closes_once_whatever_the_shopper_does() -> None:
    for machine in (fresh(), joining(), live("live", hold("h"))):
        assert codes(machine.drained()) == [CloseCode.DRAIN]
        assert machine.drained() == []
    assert closed().drained() == []


def test_a_shopper_is_busy_with_what_is_held_and_what_is_to_be_answered() -> None:
    assert fresh().busy is Busy.IDLE
    assert joining().busy is Busy.HOLDING
    assert live().busy is Busy.IDLE
    assert live("live", hold("h")).busy is Busy.HOLDING
    machine = live()
    machine.commanded(RESERVE)
    told = [machine.busy]
    machine.answered()
    assert [*told, machine.busy] == [Busy.HOLDING, Busy.IDLE]


def test_a_shopper_pays_until_the_hold_is_sold_and_the_answer_given() -> None:
    machine = live("live", hold("h"), hold("other"))
    machine.commanded(COMMANDS[-1])
    told = [machine.busy]
    machine.hold_changed(hold("h", "committed"))
    told.append(machine.busy)
    machine.answered()
    told.append(machine.busy)
    machine.commanded(RESERVE)
    told.append(machine.busy)
    assert told == [Busy.PAYING, Busy.PAYING, Busy.HOLDING, Busy.HOLDING]


def test_a_shopper_who_was_told_that_the_payment_goes_on_still_pays() -> None:
    machine = live("live", hold("h"))
    machine.commanded(COMMANDS[-1])
    machine.answered()
    told = [machine.busy]
    machine.hold_changed(hold("h", "committed"))
    assert [*told, machine.busy] == [Busy.PAYING, Busy.IDLE]
