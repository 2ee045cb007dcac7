"""Lists, searches and expansions: many resources at once, newest first."""

import re
from collections.abc import Mapping

from gateway.sandbox.stripe import refusal
from gateway.sandbox.stripe.bench import Bench, Call
from gateway.sandbox.stripe.params import Params
from gateway.sandbox.stripe.store import Json, Store, Where

DEFAULT_LIMIT = 10
MAX_LIMIT = 100
MAX_EXPANSION_DEPTH = 4

_CLAUSE = re.compile(
    r"""\s*(?:metadata\[(['"])(?P<key>.+?)\1\]|(?P<field>status|currency))"""
    r"""\s*:\s*(['"])(?P<value>.*?)\4\s*"""
)
_AND = re.compile(r"\band\b", re.IGNORECASE)


class Listing:
    """Answers the list endpoints of any kind of resource."""

    def __init__(self, bench: Bench) -> None:
        self._store = bench.store

    def page(self, call: Call, kind: str, members: tuple[str, ...] = ()) -> Json:
        """One page; `members` are parameters that a resource's member must equal."""
        given = call.params
        limit = given.get("limit", DEFAULT_LIMIT)
        conditions = [Where("kind", kind)]
        conditions += [
            Where("created", moment, comparison)
            for comparison, moment in given.get("created", {}).items()
        ]
        conditions += [Where(name, given[name]) for name in members if name in given]
        backwards = "ending_before" in given
        conditions += self._cursor(kind, given)
        found = self._store.find(conditions, limit + 1, oldest_first=backwards)
        shown = found[:limit]
        if backwards:
            shown.reverse()
        url = call.endpoint.partition(" ")[2]
        more = len(found) > limit
        return {"object": "list", "data": shown, "has_more": more, "url": url}

    def search(self, call: Call) -> Json:
        """GET …/search: `metadata['order']:'7'`, `status:'…'`, `currency:'…'`, joined by AND.

        The page token is the last id shown. Unlike Stripe's index this one never lags.
        """
        wanted = _clauses(call.params["query"])
        limit = call.params.get("limit", DEFAULT_LIMIT)
        conditions = [Where("kind", "payment_intent")]
        if "page" in call.params:
            cursor = {"starting_after": call.params["page"]}
            conditions += self._cursor("payment_intent", cursor)
        intents = self._store.find(conditions, limit=-1)
        found = [intent for intent in intents if _meets(intent, wanted)]
        url = call.endpoint.partition(" ")[2]
        last = found[limit - 1]["id"] if len(found) > limit else None
        return {
            "object": "search_result",
            "data": found[:limit],
            "has_more": last is not None,
            "next_page": last,
            "url": url,
        }

    def _cursor(self, kind: str, given: Params) -> list[Where]:
        if "starting_after" in given and "ending_before" in given:
            message = "You may only specify one of these parameters: starting_after, ending_before."
            raise refusal.malformed(message, param="starting_after")
        for name, comparison in (("starting_after", "lt"), ("ending_before", "gt")):
            if name in given:
                position = self._store.position(kind, given[name])
                if position is None:
                    raise refusal.no_such(kind, given[name], name, status=400)
                return [Where("seq", position, comparison)]
        return []


def _clauses(query: str) -> list[Mapping[str, str | None]]:
    clauses: list[Mapping[str, str | None]] = []
    for text in _AND.split(query):
        match = _CLAUSE.fullmatch(text)
        if match is None:
            message = (
                f"We were unable to parse your search query: {query[:100]}. This sandbox knows "
                "metadata['key']:'value', status:'…' and currency:'…', joined by AND."
            )
            raise refusal.malformed(message, param="query")
        clauses.append(match.groupdict())
    return clauses


def _meets(intent: Json, clauses: list[Mapping[str, str | None]]) -> bool:
    return all(
        (intent["metadata"].get(clause["key"]) if clause["key"] else intent[clause["field"] or ""])
        == clause["value"]
        for clause in clauses
    )


def expand(resource: Json, paths: list[str], store: Store) -> Json:
    """`resource` with the ids at `paths` (`latest_charge`, `data.latest_charge`) replaced."""
    for path in paths:
        names = path.split(".")
        if len(names) > MAX_EXPANSION_DEPTH:
            message = f"You cannot expand more than {MAX_EXPANSION_DEPTH} levels of a property."
            raise refusal.malformed(message, param="expand")
        resource = _expanded(resource, names, store, path)
    return resource


def _expanded(resource: Json, names: list[str], store: Store, path: str) -> Json:
    name, *rest = names
    if name not in resource:
        message = f"This property cannot be expanded ({path})."
        raise refusal.malformed(message, param="expand")
    value = resource[name]
    if isinstance(value, str):
        value = store.any(value) or value
    if isinstance(value, list):
        if rest:
            value = [_expanded(item, rest, store, path) for item in value]
    elif isinstance(value, dict) and rest:
        value = _expanded(value, rest, store, path)
    return resource | {name: value}
