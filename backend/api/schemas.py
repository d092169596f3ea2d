"""Shapes that several answers share, for the API description."""

from __future__ import annotations

from functools import cache
from typing import Any

from rest_framework import serializers


@cache
def page_of(item: type[serializers.Serializer[Any]]) -> type[serializers.Serializer[Any]]:
    """The page of a list: `items` and `next_cursor`."""
    name = item.__name__.removesuffix("Out") + "PageOut"
    members = {
        "__module__": __name__,
        "__doc__": "One page; without `next_cursor` it is the last.",
        "items": item(many=True),
        "next_cursor": serializers.CharField(allow_null=True),
    }
    return type(name, (serializers.Serializer,), members)
