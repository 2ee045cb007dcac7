"""The way into the show: where a shopper's socket is opened."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from loadtest.drop.collect import Recorder
from loadtest.drop.entrance import Entrance
from loadtest.drop.guard import may_go_to
from loadtest.drop.live_socket import Away
from loadtest.drop.shop_api import Api
from loadtest.drop.whims import Manners
from loadtest.drop.world import World

OUTSIDE = "wss://shop.example/v1/live"


class Gateway(BaseHTTPRequestHandler):
    """Gives tickets that lead to the way in from outside, and lets nobody in."""

    asked: list[tuple[str, str | None]]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps({"token": "t", "url": OUTSIDE}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["origin"]))
        self.send_error(403)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gateway() -> Iterator[str]:
    Gateway.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def entrance(at: str, socket_url: str | None) -> Entrance:
    recorder = Recorder()
    recorder.begin()
    world = World(
        apis=(Api(f"http://{at}"),),
        show="tonight",
        wanted=frozenset(),
        manners=Manners(),
        recorder=recorder,
        may_dial=lambda url: may_go_to(url, None),
        socket_url=socket_url,
    )
    return Entrance(world, "s1", world.apis[0])


def test_a_socket_is_opened_where_the_load_was_told_and_not_where_its_ticket_leads(
    gateway: str,
) -> None:
    with pytest.raises(Away, match="refused 403"):
        entrance(gateway, f"ws://{gateway}/v1/live").enter()
    [(path, origin)] = Gateway.asked
    assert path == "/v1/live"
    # As the gateway's own check wants it: it is named, and of the host that was dialled.
    assert origin == f"http://{gateway}"


def test_else_it_goes_where_the_ticket_leads_if_it_may(gateway: str) -> None:
    with pytest.raises(Away, match="not allowed"):
        entrance(gateway, None).enter()
    assert Gateway.asked == []
