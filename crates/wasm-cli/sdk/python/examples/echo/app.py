"""Answers with what it was sent."""

from airssys import Component, export


class Echo(Component):
    def handle(self, message):
        return message.payload


ComponentLifecycle = export(Echo, name="echo", version="0.1.0")
