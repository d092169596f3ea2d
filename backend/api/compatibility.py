"""What in a new API description would break a client that was written for the last one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

# Lists of words that clients may take to be complete (docs: change policy); others grow.
CLOSED = frozenset({"SessionState", "EntryState", "Side", "DoseSide", "DayType"})
UPPER = ("maximum", "maxLength", "maxItems", "maxProperties")
LOWER = ("minimum", "minLength", "minItems", "minProperties")


def breaks(old: Schema, new: Schema) -> list[str]:
    """One line for each change that only a v2 may make."""
    return [*_Comparison(old, new).all()]


class _Comparison:
    def __init__(self, old: Schema, new: Schema) -> None:
        self.old, self.new = old, new

    def all(self) -> Iterator[str]:
        for path, methods in self.old["paths"].items():
            for method, before in methods.items():
                name = f"{method.upper()} {path}"
                after = self.new["paths"].get(path, {}).get(method)
                if after is None:
                    yield f"{name}: gone"
                else:
                    yield from self._operation(name, before, after)

    def _operation(self, name: str, before: Schema, after: Schema) -> Iterator[str]:
        if before["operationId"] != after["operationId"]:
            yield f"{name}: called {after['operationId']}, was {before['operationId']}"
        was, ways = before.get("security", []), after.get("security", [])
        if any(way not in ways for way in was) or (ways and not was):
            yield f"{name}: another sign-in"
        yield from self._parameters(name, before, after)
        yield from self._body(name, before, after)
        yield from self._answers(name, before, after)

    def _parameters(self, name: str, before: Schema, after: Schema) -> Iterator[str]:
        known = {(one["in"], one["name"]): one for one in before.get("parameters", ())}
        found = {(one["in"], one["name"]): one for one in after.get("parameters", ())}
        for key, one in found.items():
            if one.get("required") and not known.get(key, {}).get("required"):
                yield f"{name}: {key[1]} is required"
        for key, one in known.items():
            if key not in found:
                yield f"{name}: {key[1]} is gone"
            else:
                yield from self._sent(f"{name} {key[1]}", one["schema"], found[key]["schema"])

    def _body(self, name: str, before: Schema, after: Schema) -> Iterator[str]:
        old, new = before.get("requestBody"), after.get("requestBody")
        if new and new.get("required") and not (old and old.get("required")):
            yield f"{name}: a body is required"
        if old and not new:
            yield f"{name}: takes no body"
        elif old and new:
            for media_type, said in old["content"].items():
                if media_type not in new["content"]:
                    yield f"{name}: takes no {media_type}"
                else:
                    told = new["content"][media_type]["schema"]
                    yield from self._sent(name, said["schema"], told)

    def _answers(self, name: str, before: Schema, after: Schema) -> Iterator[str]:
        for status, old in before["responses"].items():
            if int(status) >= 400:  # clients know any problem by its shape
                continue
            new = after["responses"].get(status)
            if new is None:
                yield f"{name}: no {status}"
                continue
            for media_type, said in old.get("content", {}).items():
                told = new.get("content", {}).get(media_type)
                if told is None:
                    yield f"{name}: {status} is no {media_type}"
                else:
                    yield from self._answered(f"{name} {status}", said["schema"], told["schema"])

    def _sent(self, at: str, old: Schema, new: Schema) -> Iterator[str]:
        """What was right to send stays so: nothing narrower, nothing more required."""
        _, old = _resolved(self.old, old)
        _, new = _resolved(self.new, new)
        if lost := _types(old) - _types(new):
            yield f"{at}: takes no {', '.join(sorted(lost))}"
        if "enum" in new and (gone := _words(old) - _words(new)):
            yield f"{at}: takes no {', '.join(sorted(gone))}"
        for limit in UPPER:
            if limit in new and new[limit] < old.get(limit, float("inf")):
                yield f"{at}: {limit} {new[limit]}, was {old.get(limit, 'none')}"
        for limit in LOWER:
            if limit in new and new[limit] > old.get(limit, float("-inf")):
                yield f"{at}: {limit} {new[limit]}, was {old.get(limit, 'none')}"
        for rule in ("pattern", "format", "multipleOf"):
            if rule in new and new[rule] != old.get(rule):
                yield f"{at}: {rule} {new[rule]}, was {old.get(rule, 'none')}"
        for name in sorted(set(new.get("required", ())) - set(old.get("required", ()))):
            yield f"{at}.{name}: is required"
        for name, said in old.get("properties", {}).items():
            if name not in new.get("properties", {}):
                yield f"{at}.{name}: is gone"
            else:
                yield from self._sent(f"{at}.{name}", said, new["properties"][name])
        if "items" in old and "items" in new:
            yield from self._sent(f"{at}[]", old["items"], new["items"])

    def _answered(self, at: str, old: Schema, new: Schema) -> Iterator[str]:
        """What a client reads stays there and stays what it was."""
        name, old = _resolved(self.old, old)
        _, new = _resolved(self.new, new)
        if other := _types(new) - _types(old):
            yield f"{at}: may be {', '.join(sorted(other))}"
        if name in CLOSED and (added := _words(new) - _words(old)):
            yield f"{at}: {name} is closed, and now has {', '.join(sorted(added))}"
        for name in sorted(set(old.get("required", ())) - set(new.get("required", ()))):
            yield f"{at}.{name}: may be absent"
        for name, said in old.get("properties", {}).items():
            if name not in new.get("properties", {}):
                yield f"{at}.{name}: is gone"
            else:
                yield from self._answered(f"{at}.{name}", said, new["properties"][name])
        for inner in ("items", "additionalProperties"):
            if isinstance(old.get(inner), Mapping) and isinstance(new.get(inner), Mapping):
                yield from self._answered(f"{at}[]", old[inner], new[inner])


def _resolved(document: Schema, schema: Schema) -> tuple[str, Schema]:
    """What a schema refers to, and its name. "This or null" is told as a type among others."""
    name = ""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        schema = document["components"]["schemas"][name]
    if len(schema.get("allOf", ())) == 1:
        return _resolved(document, schema["allOf"][0])
    options = [_resolved(document, one) for one in schema.get("oneOf", schema.get("anyOf", ()))]
    some = [(known, option) for known, option in options if option.get("type") != "null"]
    if len(some) == 1:
        name, only = some[0]
        return name, {**only, "type": [*_types(only), "null"]}
    return name, schema


def _types(schema: Schema) -> set[str]:
    said = schema.get("type", ())
    return {said} if isinstance(said, str) else set(said)


def _words(schema: Schema) -> set[str]:
    return {str(word) for word in schema.get("enum", ())}
