"""The load test of a whole deployment, for Locust.

    pip install locust websocket-client
    export HOLDFAST_LOAD_ADMIN_KEY=…           # a key of the shop; holdfast token makes one
    locust -f loadtest/locustfile.py --host http://127.0.0.1:8080
    locust -f loadtest/locustfile.py --host … --scenario smoke
    locust -f loadtest/locustfile.py --host … --processes 2
    python -m loadtest.drop                    # all scenarios and options

It needs nothing of Holdfast but this folder. Several gateways are given with commas, if nothing is
before them. It runs without Locust's pages (``--headful`` brings them), shows how it stands every
two seconds, and ends with a verdict: 0 good, 1 not, 2 not begun. On several hosts, start it with
``--master --expect-workers N`` on one and with ``--worker --master-host NAME`` on the others, with
the same options and keys.
"""

import argparse
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from locust import User, events, runners, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from loadtest.drop import verdict
from loadtest.drop.greenlets import by_the_loop, woken_go_first
from loadtest.drop.guard import REFUSED, NotAllowed
from loadtest.drop.options import add_options, read_options
from loadtest.drop.progress import to_terminal
from loadtest.drop.run import REPORT_EVERY_S, Run
from loadtest.drop.shapes import Stages
from loadtest.drop.shop_api import NoAnswer, Refused

_QUIET = ("locust.stats_logger", "locust.main", "locust.runners")


class Shopper(User):
    """A shopper who lives at the show, or the door that lets shoppers in by a schedule."""

    run_of: Run

    @task
    def shops(self) -> None:
        """Stay until the show closes, then do nothing until Locust ends it."""
        run = self.run_of
        if run.options.scenario.open:
            run.lets_in()
        else:
            run.lives()
        while True:
            time.sleep(1)


@events.init_command_line_parser.add_listener
def _add_options(parser: LocustArgumentParser) -> None:
    group = parser.add_argument_group("Holdfast", "What is played, and where.")
    add_options(group.add_argument)
    parser.set_defaults(headless=True, only_summary=True, loglevel="WARNING")


@events.init.add_listener
def _init(environment: Environment, runner: runners.Runner, **_: object) -> None:
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    runners.WORKER_REPORT_INTERVAL = REPORT_EVERY_S
    woken_go_first()
    is_master = isinstance(runner, runners.MasterRunner)
    is_worker = isinstance(runner, runners.WorkerRunner)
    try:
        options = read_options(_said(environment), os.environ)
        run = Run(options, leads=not is_worker, plays=not is_master, start=by_the_loop)
        run.prepares()
    except (NotAllowed, NoAnswer, Refused) as error:
        to_terminal(str(error))
        sys.exit(REFUSED)
    Shopper.run_of = run
    Stages.run = run
    _connect(environment, runner, run)


def _said(environment: Environment) -> argparse.Namespace:
    said: argparse.Namespace | None = environment.parsed_options
    assert said
    return said


def _connect(environment: Environment, runner: runners.Runner, run: Run) -> None:
    """Have the run told what happens."""

    def answered(step: str, code: str, took_ms: float, wrong: bool) -> None:  # noqa: FBT001
        environment.events.request.fire(
            request_type="live",
            name=step,
            response_time=took_ms,
            response_length=0,
            context={},
            exception=RuntimeError(code) if wrong else None,
        )

    def begins(**_: object) -> None:
        if isinstance(runner, runners.MasterRunner):
            # Workers are told these with the first users, and know their share by them.
            run.processes = runner.worker_count
            _said(environment).holdfast_run = run.name
            _said(environment).holdfast_processes = run.processes
            _said(environment).holdfast_hosts = list(run.options.urls)
        if isinstance(runner, runners.WorkerRunner):
            said = _said(environment)
            index = runner.worker_index % said.holdfast_processes
            run.joins(said.holdfast_run, said.holdfast_processes, index, said.holdfast_hosts)
        else:
            run.begins()

    def reported(client_id: str, data: dict[str, Any], **_: object) -> None:
        if report := data.get("holdfast"):
            run.whole.merge(client_id, report)

    def reports(data: dict[str, Any], **_: object) -> None:
        if run.began_at:
            data["holdfast"] = run.recorder.take()

    run.recorder.listener = answered
    environment.events.test_start.add_listener(begins)
    if isinstance(runner, runners.MasterRunner):
        environment.events.worker_report.add_listener(reported)
    elif isinstance(runner, runners.WorkerRunner):
        environment.events.report_to_master.add_listener(reports)
    else:
        runner.greenlet.spawn(_reports_here, run)
    if run.leads:
        environment.events.quitting.add_listener(lambda **_: _concludes(environment, run))


def _reports_here(run: Run) -> None:
    while True:
        time.sleep(REPORT_EVERY_S)
        if run.began_at:
            run.reports()


def _concludes(environment: Environment, run: Run) -> None:
    """The run is over: write down what was measured, and have it judged."""
    if not run.began_at:
        return
    measured, target = run.ends()
    out = run.options.out
    out.mkdir(parents=True, exist_ok=True)
    (out / "measured.json").write_text(measured.to_json(), encoding="utf-8")
    environment.process_exit_code = verdict.conclude(
        run.options.scenario,
        measured,
        target,
        out,
        gateways=run.options.metrics_urls,
        before=run.vitals_before,
    )
